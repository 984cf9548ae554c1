"""Idempotency keys in use."""

from datetime import datetime

from sqlalchemy import Connection, delete, select, update

from snapmanage.core.idempotency import KeyUse
from snapmanage.store.engine import locks
from snapmanage.store.mapping.tables import idempotency_keys

_key_digest = idempotency_keys.c.key_digest


def hold(conn: Connection, requested: KeyUse) -> KeyUse:
    """Return the use of a key, `requested` if it had none; others with the key wait until the transaction ends."""
    return KeyUse(**locks.lock(conn, idempotency_keys, dict(vars(requested)))._mapping)


def replace(conn: Connection, use: KeyUse) -> None:
    """Write another use of a locked key."""
    conn.execute(update(idempotency_keys).where(_key_digest == use.key_digest).values(vars(use)))


def forget(conn: Connection, before: datetime, limit: int) -> None:
    """Delete up to `limit` keys that were first used before a time; skip rows that others have locked."""
    old = (
        select(_key_digest)
        .where(idempotency_keys.c.created_at < before)
        .order_by(idempotency_keys.c.created_at)
        .limit(limit)
    )
    found = conn.execute(old.with_for_update(skip_locked=True)).scalars().all()
    if found:
        conn.execute(delete(idempotency_keys).where(_key_digest.in_(found)))
