"""Idempotency keys in use."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, select

from snapmanage.core.idempotency import KeyUse
from snapmanage.store.engine import locks
from snapmanage.store.mapping.tables import idempotency_keys

_key_digest = idempotency_keys.c.key_digest


@dataclass(frozen=True)
class HeldKey:
    """The use of a locked key; `is_new` means that this transaction has inserted it."""

    use: KeyUse
    is_new: bool


def hold(conn: Connection, requested: Collection[KeyUse]) -> dict[str, HeldKey]:
    """Return the uses of keys by their digests, the requested ones of keys that had none.

    Other transactions with one of the keys wait until this one ends.
    """
    rows, absent = locks.lock_many(conn, idempotency_keys, {use.key_digest: vars(use) for use in requested})
    held = {digest: KeyUse(**row._mapping) for digest, row in rows.items()}
    # Another transaction may have inserted an absent row first.
    return {
        use.key_digest: HeldKey(held[use.key_digest], use.key_digest in absent and held[use.key_digest] == use)
        for use in requested
    }


def replace(conn: Connection, uses: Sequence[KeyUse]) -> None:
    """Write other uses of locked keys."""
    if uses:
        conn.execute(locks.insert_or_replace(conn.dialect.name, idempotency_keys), [dict(vars(use)) for use in uses])


def release(conn: Connection, key_digests: Collection[str]) -> None:
    """Delete the uses of locked keys."""
    if key_digests:
        conn.execute(delete(idempotency_keys).where(_key_digest.in_(sorted(key_digests))))


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
