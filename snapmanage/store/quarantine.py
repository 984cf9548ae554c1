"""Messages in quarantine."""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from snapmanage.core.values.text import DEEPEST, readable, walk
from snapmanage.store.mapping.tables import quarantine

# Bytes. Their escaped form must fit into one packet of MariaDB, which has 16 MiB by default.
LARGEST_KEPT = 4 * 1024**2
# The precision of the column.
TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class QuarantinedMessage:
    """A message as it last arrived on `queue`, with the reason; of a very large message only the first part."""

    id: str
    queue: str
    body: bytes
    headers: Mapping[str, Any]
    reason: str
    received_at: datetime
    event_id: str | None = None

    @property
    def whole(self) -> bool:
        return key(self.queue, self.body) == self.id


@dataclass(frozen=True)
class QuarantineEntry:
    """A `QuarantinedMessage` without its bytes."""

    id: str
    queue: str
    size_bytes: int
    reason: str
    received_at: datetime


def key(queue: str, body: bytes) -> str:
    """Return the id of a message, made of its queue and its bytes: a repeat has the same."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{queue} {hashlib.sha256(body).hexdigest()}"))


def add(
    conn: Connection,
    queue: str,
    body: bytes,
    headers: Mapping[str, Any],
    reason: str,
    now: datetime,
    event_id: str | None = None,
) -> str | None:
    """Quarantine a message, with its bytes, its headers and the reason.

    Only the first part of a very large message is kept; the reason names the length and the digest of the whole.
    `event_id` is the event whose entry in the audit log the message contradicts; a repeat without it keeps the first.
    Return the message's id. Return None if the quarantine has the message already, which gets a later `received_at`.
    """
    message_id = key(queue, body)
    if len(body) > LARGEST_KEPT:
        digest = hashlib.sha256(body).hexdigest()
        reason = f"(the first {LARGEST_KEPT} of {len(body)} bytes, SHA-256 {digest}) {reason}"
    row = {"headers": _storable(headers), "reason": readable(reason), "received_at": now}
    row |= {"event_id": event_id} if event_id else {}
    this = quarantine.c.id == message_id
    received = conn.execute(select(quarantine.c.received_at).where(this).with_for_update()).scalar()
    if received is None:
        conn.execute(quarantine.insert(), row | {"id": message_id, "queue": queue, "body": body[:LARGEST_KEPT]})
        return message_id
    conn.execute(update(quarantine).where(this), row | {"received_at": max(now, received + TICK)})
    return None


def _storable(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return headers as JSON, without those that are nested so deep that they could not be written."""
    shown = {name: value for name, value in headers.items() if all(level < DEEPEST for level, _ in walk(value))}
    kept: dict[str, Any] = json.loads(json.dumps(shown, default=str, skipkeys=True))  # a name may be no text
    return kept


def all_of(conn: Connection) -> list[QuarantineEntry]:
    """Return the entries of the quarantine, oldest first."""
    shown = quarantine.c
    query = select(
        shown.id, shown.queue, func.length(shown.body).label("size_bytes"), shown.reason, shown.received_at
    ).order_by(shown.received_at, shown.id)
    return [QuarantineEntry(**row._mapping) for row in conn.execute(query)]


def get(conn: Connection, message_id: str) -> QuarantinedMessage | None:
    row = conn.execute(select(quarantine).where(quarantine.c.id == message_id)).one_or_none()
    return None if row is None else QuarantinedMessage(**row._mapping)


def contradicting(conn: Connection) -> list[str]:
    """Return the ids of the messages that contradict an entry of the audit log, oldest first."""
    query = select(quarantine.c.id).where(quarantine.c.event_id.is_not(None))
    return list(conn.execute(query.order_by(quarantine.c.received_at, quarantine.c.id)).scalars())


def drop(conn: Connection, message_id: str) -> bool:
    """Delete a message; return False if it is unknown."""
    return bool(conn.execute(delete(quarantine).where(quarantine.c.id == message_id)).rowcount)


def drop_unless_back(conn: Connection, sent: QuarantinedMessage) -> bool:
    """Delete a message that was sent again; return False if it was quarantined once more, or is unknown."""
    this = (quarantine.c.id == sent.id) & (quarantine.c.received_at == sent.received_at)
    return bool(conn.execute(delete(quarantine).where(this)).rowcount)
