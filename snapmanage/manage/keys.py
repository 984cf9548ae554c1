"""The idempotency keys of requests: a request that a client sends twice under one key is carried out once."""

import uuid
from collections.abc import Sequence
from dataclasses import replace

from snapmanage import errors
from snapmanage.core import idempotency
from snapmanage.core.idempotency import IdempotencyKey, KeyUse
from snapmanage.core.records import Record
from snapmanage.manage.transaction import Transaction
from snapmanage.store import idempotency as stored

# Each request deletes up to this many expired keys; more than one, so that the table shrinks.
EXPIRED_KEYS_PER_REQUEST = 10
# Like it, for each request of a batch: one statement deletes them all.
EXPIRED_KEYS_PER_ENTRY = 2


class Keys:
    """The locked keys of a transaction's requests, which claim them one after the other.

    They are locked first in the transaction: of two requests at the same time, the second waits for the first and finds
    its record.
    """

    def __init__(self, tx: Transaction, requested: Sequence[tuple[Record, IdempotencyKey]], ids_chosen: bool) -> None:
        self._tx = tx
        first: dict[str, KeyUse] = {}
        for record, key in requested:
            use = self._use(record, key)
            # A repeated request has the same chosen id, but only the first transaction finds its own id in the row.
            first.setdefault(key.key_digest, replace(use, record_id=str(uuid.uuid4())) if ids_chosen else use)
        self._held = stored.hold(tx.conn, list(first.values())) if first else {}
        self._uses = {digest: held.use for digest, held in self._held.items() if not held.is_new}
        self._claimed: dict[str, KeyUse] = {}

    def earlier(self, record: Record, key: IdempotencyKey) -> str | None:
        """Return the id of the record of an earlier request under this key, or None; raise `KeyReused`."""
        held = self._uses.get(key.key_digest)
        repeats = held and idempotency.repeats(self._use(record, key), held, self._tx.rules.idempotency_key_ttl)
        return held.record_id if held and repeats else None

    def claim(self, record: Record, key: IdempotencyKey) -> None:
        """Let later requests under the key repeat this one."""
        self._uses[key.key_digest] = self._claimed[key.key_digest] = self._use(record, key)

    def write(self) -> None:
        """Write the claims, free the other keys, and delete some expired ones."""
        if not self._held:
            return
        stored.replace(self._tx.conn, [use for digest, use in self._claimed.items() if self._held[digest].use != use])
        new = {digest for digest, held in self._held.items() if held.is_new}
        stored.release(self._tx.conn, new - self._claimed.keys())
        if self._claimed:
            most = max(EXPIRED_KEYS_PER_REQUEST, EXPIRED_KEYS_PER_ENTRY * len(self._claimed))
            stored.forget(self._tx.conn, self._tx.now - self._tx.rules.idempotency_key_ttl, most)

    def _use(self, record: Record, key: IdempotencyKey) -> KeyUse:
        return KeyUse(key.key_digest, key.request_digest, record.id, self._tx.now)


def record_gone(record_id: str) -> errors.NotFound:
    """Return the error for a repeated request whose record was purged."""
    return errors.NotFound(f"The record {record_id} of this Idempotency-Key no longer exists: use a new key.")
