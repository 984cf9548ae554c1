"""Messages to users: the reasons why asynchronous operations failed."""

from collections.abc import Sequence

from sqlalchemy import Connection

from snapmanage.core.lists.paging import ListQuery
from snapmanage.core.usermessages import UserMessage
from snapmanage.store import paging
from snapmanage.store.mapping.tables import messages


def add(conn: Connection, added: Sequence[UserMessage]) -> None:
    """Write messages, at least one."""
    conn.execute(messages.insert(), [dict(vars(message)) for message in added])


def get(conn: Connection, project_id: str | None, message_id: str) -> UserMessage | None:
    """Return a message of a project, or of any project with None; None if there is no such message."""
    rows = list_page(conn, ListQuery(project_id, equal={"id": message_id}, limit=1))
    return rows[0] if rows else None


def list_page(conn: Connection, query: ListQuery) -> list[UserMessage]:
    """Return a page of messages; raise `InvalidRequest` if the marker is not in the list."""
    return [UserMessage(**row._mapping) for row in paging.rows(conn, messages, query)]
