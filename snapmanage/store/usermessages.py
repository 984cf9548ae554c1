"""Messages to users: why asynchronous operations failed."""

from collections.abc import Sequence

from sqlalchemy import Connection

from snapmanage.core.paging import ListQuery
from snapmanage.core.usermessages import UserMessage
from snapmanage.store import paging
from snapmanage.store.tables import messages


def add(conn: Connection, told: Sequence[UserMessage]) -> None:
    if told:
        conn.execute(messages.insert(), [dict(vars(message)) for message in told])


def get(conn: Connection, project_id: str | None, message_id: str) -> UserMessage | None:
    """A message of a project, or of any with None."""
    rows = list_page(conn, ListQuery(project_id, equal={"id": message_id}, limit=1))
    return rows[0] if rows else None


def list_page(conn: Connection, wanted: ListQuery) -> list[UserMessage]:
    """The wanted page of messages; `InvalidRequest` when the marker is none of them."""
    return [UserMessage(**row._mapping) for row in paging.rows(conn, messages, wanted)]
