"""Write the events of the bus to the audit log: each event once, in a chain.

A repeated event has the `event_id` of the first. Messages of other services that share the topic are ignored. An event
of snapmanage that can't be understood or written is quarantined.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from snapmanage import crash, errors
from snapmanage.bus import Delivery, envelope
from snapmanage.core import audit as chain
from snapmanage.core.audit import Entry, Gap, Head
from snapmanage.core.events import PAYLOAD_FIELDS
from snapmanage.core.values.ids import parse_uuid
from snapmanage.core.values.logfields import fields
from snapmanage.core.values.text import DEEPEST_EVENT, readable, storable, walk
from snapmanage.crash import Point
from snapmanage.store import audit as audit_log
from snapmanage.store import quarantine
from snapmanage.store.engine.database import Database
from snapmanage.store.engine.refusals import write_in_parts

LOG = logging.getLogger(__name__)

OWN_EVENT_TYPES = ("snapshot.manage.", "snapshot.unmanage.")
# Bytes. A larger message is read only if it holds one of our types: parsing takes many times the bytes of a message.
LARGEST_READ = 64 * 1024


@dataclass(frozen=True)
class ReceivedEvent:
    """An event of snapmanage, and the delivery that brought it."""

    event_type: str
    payload: dict[str, Any]
    delivery: Delivery


class Listener:
    """The handler of the notification queues: the events of a batch are in the audit log when it returns."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def __call__(self, batch: Sequence[Delivery]) -> None:
        received: list[ReceivedEvent] = []
        for delivery in batch:
            try:
                if event := _parse_event(delivery):
                    received.append(event)
            except errors.InvalidRequest as error:
                self.quarantine(delivery, str(error))
        if received:
            crash.at(Point.EVENTS_RECEIVED)
            write_in_parts(
                received, lambda part: self._db.write(lambda conn, now: _append_new(conn, part, now)), self._refuse
            )

    def _refuse(self, event: ReceivedEvent, error: Exception) -> None:
        self.quarantine(event.delivery, f"{type(error).__name__}: {error}".partition("\n")[0])

    def quarantine(self, delivery: Delivery, reason: str, read: bool = True) -> None:
        """Quarantine a message; `read` makes no difference, since a quarantined event is not announced."""
        self._db.write(
            lambda conn, now: quarantine.add(conn, delivery.queue, delivery.body, delivery.headers, reason, now)
        )
        key = quarantine.key(delivery.queue, delivery.body)
        LOG.error(
            "Quarantined a notification; see `snapmanage-manage quarantine show`: %s",
            fields(message=key, queue=delivery.queue, reason=readable(reason)),
        )
        crash.at(Point.QUARANTINED)


def trail(db: Database, limit: int, snapshot_id: str | None = None) -> list[Entry]:
    """Return the newest `limit` entries in the order of the log."""
    with db.read() as conn:
        return audit_log.newest(conn, limit, snapshot_id)


def verify(db: Database) -> tuple[Head, str | None, list[Gap]]:
    """Return the head of the chain, the first break (None if the chain is whole), and the gaps in the log."""
    with db.read(at_one_moment=True) as conn:
        head = audit_log.head(conn)
        broken = chain.first_break(audit_log.in_order(conn), head)
        return head, broken, chain.gaps(audit_log.steps(conn))


def _parse_event(delivery: Delivery) -> ReceivedEvent | None:
    """Return the event in a message, None for a message of another service; raise `InvalidRequest` if it is invalid."""
    if len(delivery.body) > LARGEST_READ and not any(kind.encode() in delivery.body for kind in OWN_EVENT_TYPES):
        return None
    envelope.limit_size(delivery.body, envelope.LARGEST_EVENT)
    content = envelope.unwrap(delivery.body)
    event_type, payload = content.get("event_type"), content.get("payload")
    if not isinstance(event_type, str) or not event_type.startswith(OWN_EVENT_TYPES):
        return None
    if not isinstance(payload, dict):
        raise errors.InvalidRequest(f"the payload of {event_type} must be a JSON object")
    if missing := [name for name in PAYLOAD_FIELDS if name not in payload]:
        raise errors.InvalidRequest(f"the payload of {event_type} lacks fields of its schema: {', '.join(missing)}")
    if len(event_type) > 255 or not storable(event_type):
        raise errors.InvalidRequest("the type must be a text of up to 255 characters of Unicode without NUL")
    if any(parse_uuid(name, payload[name]) != payload[name] for name in ("event_id", "snapshot_id")):
        raise errors.InvalidRequest("event_id and snapshot_id must be written in small letters with hyphens")
    if any(level > DEEPEST_EVENT for level, _ in walk(payload)):
        raise errors.InvalidRequest(f"the payload is nested more than {DEEPEST_EVENT} levels deep")
    generation = payload["generation"]
    if type(generation) is not int or not 0 <= generation < 2**31:
        raise errors.InvalidRequest(f"the generation must be a whole number, not {generation!r}")
    return ReceivedEvent(event_type, payload, delivery)


def _append_new(conn: Connection, events: Sequence[ReceivedEvent], now: datetime) -> None:
    """Append the events that the log doesn't have yet."""
    head = audit_log.head(conn, lock=True)
    fresh = {event.payload["event_id"]: event for event in events}
    for known in audit_log.known(conn, list(fresh)):
        del fresh[known]
    entries: list[Entry] = []
    for event in fresh.values():
        entry = chain.next_entry(head, event.event_type, event.payload, now)
        head = Head(entry.number, entry.digest)
        entries.append(entry)
    audit_log.append(conn, entries)
    if entries:
        crash.at(Point.AUDIT_UNCOMMITTED)
