"""Messages to users: why asynchronous operations failed."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, or_, select

from snapmanage import errors
from snapmanage.core.events import UserMessage
from snapmanage.store.tables import messages


def add(conn: Connection, told: Sequence[UserMessage]) -> None:
    if told:
        conn.execute(messages.insert(), [dict(vars(message)) for message in told])


def get(conn: Connection, project_id: str, message_id: str) -> UserMessage | None:
    rows = list_page(conn, project_id, {"id": message_id}, limit=1)
    return rows[0] if rows else None


def list_page(
    conn: Connection,
    project_id: str,
    filters: Mapping[str, Any],
    limit: int,
    offset: int = 0,
    marker: str | None = None,
) -> list[UserMessage]:
    """A project's messages, newest first; `InvalidRequest` when the marker is none of them.

    `filters` compares columns of the table for equality.
    """
    query = select(messages).where(messages.c.project_id == project_id)
    query = query.where(*(messages.c[column] == value for column, value in filters.items()))
    if marker is not None:
        query = _after(conn, query, marker, project_id)
    query = query.order_by(messages.c.created_at.desc(), messages.c.id.desc()).limit(limit).offset(offset)
    return [UserMessage(**row._mapping) for row in conn.execute(query)]


def _after(conn: Connection, query: Select[Any], marker: str, project_id: str) -> Select[Any]:
    last = get(conn, project_id, marker)
    if last is None:
        raise errors.InvalidRequest(f"marker {marker} could not be found; start again without it")
    later = (messages.c.created_at == last.created_at) & (messages.c.id < marker)
    return query.where(or_(messages.c.created_at < last.created_at, later))
