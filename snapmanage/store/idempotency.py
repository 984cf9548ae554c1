"""Idempotency keys in use."""

from datetime import datetime

from sqlalchemy import Connection, delete, select, update

from snapmanage.core.idempotency import KeyUse
from snapmanage.store.engine import locks
from snapmanage.store.tables import idempotency_keys

_key_digest = idempotency_keys.c.key_digest


def hold(conn: Connection, asked: KeyUse) -> KeyUse:
    """The use that a key has, `asked` where it had none; others that come with it wait until the transaction ends."""
    return KeyUse(**locks.lock(conn, idempotency_keys, dict(vars(asked)))._mapping)


def replace(conn: Connection, use: KeyUse) -> None:
    """Let a key that is held stand for another request."""
    conn.execute(update(idempotency_keys).where(_key_digest == use.key_digest).values(vars(use)))


def forget(conn: Connection, before: datetime, limit: int) -> None:
    """Drop keys that were first used before a time, at most `limit`, leaving out those that others hold."""
    old = (
        select(_key_digest)
        .where(idempotency_keys.c.created_at < before)
        .order_by(idempotency_keys.c.created_at)
        .limit(limit)
    )
    found = conn.execute(old.with_for_update(skip_locked=True)).scalars().all()
    if found:
        conn.execute(delete(idempotency_keys).where(_key_digest.in_(found)))
