"""Counts of the attempts at messages that were delivered again.

A process counts an attempt before it handles such a message. If the message kills the process, the count stays.
"""

from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from snapmanage.store.mapping.tables import suspects


def count_attempt(conn: Connection, message_id: str, now: datetime) -> int:
    """Count an attempt at a message; return how many are counted, with this one."""
    this = suspects.c.id == message_id
    counted = update(suspects).where(this).values(attempts=suspects.c.attempts + 1, seen_at=now)
    if not conn.execute(counted).rowcount:
        conn.execute(insert(suspects), {"id": message_id, "attempts": 1, "seen_at": now})
    return int(conn.execute(select(suspects.c.attempts).where(this)).scalar_one())


def uncount_attempt(conn: Connection, message_id: str) -> None:
    """Count one attempt less: the handler failed, but its process lives."""
    conn.execute(delete(suspects).where(suspects.c.id == message_id, suspects.c.attempts <= 1))
    conn.execute(update(suspects).where(suspects.c.id == message_id).values(attempts=suspects.c.attempts - 1))


def delete_count(conn: Connection, message_id: str) -> None:
    """Delete the count of a message that was handled or quarantined."""
    conn.execute(delete(suspects).where(suspects.c.id == message_id))


def delete_older(conn: Connection, before: datetime, limit: int) -> None:
    """Delete up to `limit` counts whose last attempt was before a time; skip rows that others have locked."""
    old = select(suspects.c.id).where(suspects.c.seen_at < before).limit(limit)
    found = conn.execute(old.with_for_update(skip_locked=True)).scalars().all()
    if found:
        conn.execute(delete(suspects).where(suspects.c.id.in_(found)))
