"""Messages to users: why asynchronous operations failed."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from snapmanage.core.events import UserMessage
from snapmanage.store.tables import messages


def add(conn: Connection, told: Sequence[UserMessage]) -> None:
    if told:
        conn.execute(messages.insert(), [dict(vars(message)) for message in told])


def get(conn: Connection, project_id: str, message_id: str) -> UserMessage | None:
    rows = list_page(conn, project_id, {"id": message_id}, limit=1)
    return rows[0] if rows else None


def list_page(
    conn: Connection, project_id: str, filters: Mapping[str, Any], limit: int, offset: int = 0
) -> list[UserMessage]:
    """A project's messages, newest first; `filters` compares columns of the table for equality."""
    query = select(messages).where(messages.c.project_id == project_id)
    query = query.where(*(messages.c[column] == value for column, value in filters.items()))
    query = query.order_by(messages.c.created_at.desc(), messages.c.id.desc()).limit(limit).offset(offset)
    return [UserMessage(**row._mapping) for row in conn.execute(query)]
