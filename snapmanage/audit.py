"""From the bus to the audit log: each event once, in a chain.

Repeats are known by `event_id`. A message that is no event of ours (other services share the topic)
is passed over; one that claims to be ours and can't be understood, or kept, goes to the quarantine.
"""

import logging
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from snapmanage import crash, errors
from snapmanage.bus import Delivery, envelope
from snapmanage.core import audit as ledger
from snapmanage.core.audit import Entry, Gap
from snapmanage.core.events import PAYLOAD_FIELDS
from snapmanage.core.records import keepable, readable
from snapmanage.core.reference import depth
from snapmanage.crash import Point
from snapmanage.store import audit as auditlog
from snapmanage.store import quarantine
from snapmanage.store.engine.database import Database
from snapmanage.store.engine.refusals import write_in_parts

LOG = logging.getLogger(__name__)

# More than any reference may have, and far less than what could not be written again.
DEEPEST = 64
OURS = ("snapshot.manage.", "snapshot.unmanage.")
Heard = tuple[str, dict[str, Any]]


class Listener:
    """The handler of the notification queues: what it was given is in the log when it returns."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def __call__(self, batch: Sequence[Delivery]) -> None:
        heard: list[tuple[Heard, Delivery]] = []
        for delivery in batch:
            try:
                heard += [(event, delivery) for event in _event(delivery)]
            except errors.InvalidRequest as error:
                self.quarantine(delivery, str(error))
        if heard:
            crash.at(Point.HEARD)
            write_in_parts(
                heard,
                lambda part: self._db.write(lambda conn, now: _record(conn, now, [event for event, _ in part])),
                self._refuse,
            )

    def _refuse(self, heard: tuple[Heard, Delivery], error: Exception) -> None:
        self.quarantine(heard[1], f"{type(error).__name__}: {error}".partition("\n")[0])

    def quarantine(self, delivery: Delivery, reason: str, read: bool = True) -> None:
        """Keep a message apart, for people to look at."""
        LOG.error("A notification on %s goes to the quarantine: %s", delivery.queue, readable(reason))
        self._db.write(
            lambda conn, now: quarantine.put_aside(conn, delivery.queue, delivery.body, delivery.headers, reason, now)
        )
        crash.at(Point.QUARANTINED)


def trail(db: Database, limit: int, snapshot_id: str | None = None) -> list[Entry]:
    """The newest entries, oldest of them first."""
    with db.read() as conn:
        return auditlog.newest(conn, limit, snapshot_id)


def verify(db: Database) -> tuple[ledger.Head, str | None, list[Gap]]:
    """The chain's head, what breaks the chain (None when it is whole), and what the log lacks."""
    with db.read(at_one_moment=True) as conn:
        head = auditlog.head(conn)
        broken = ledger.first_break(auditlog.in_order(conn), head)
        return head, broken, ledger.gaps(auditlog.steps(conn))


def _event(delivery: Delivery) -> list[Heard]:
    content = envelope.unwrap(delivery.body)
    event_type, payload = content.get("event_type"), content.get("payload")
    if not isinstance(event_type, str) or not event_type.startswith(OURS):
        return []
    envelope.refuse_larger(delivery.body, envelope.LARGEST_EVENT)
    if not isinstance(payload, dict) or not payload.keys() >= set(PAYLOAD_FIELDS):
        raise errors.InvalidRequest(f"the payload of {event_type} lacks fields of the published schema")
    fits = len(event_type) <= 255 and keepable(event_type)
    if not (fits and _identifies(payload["event_id"]) and _identifies(payload["snapshot_id"])):
        raise errors.InvalidRequest(
            "event_id and snapshot_id must be UUIDs, and the type a text of up to 255 characters"
        )
    if depth(payload) > DEEPEST:
        raise errors.InvalidRequest(f"the payload is nested more than {DEEPEST} levels deep")
    generation = payload["generation"]
    if type(generation) is not int or not 0 <= generation < 2**31:
        raise errors.InvalidRequest(f"the generation must be a whole number, not {generation!r}")
    return [(event_type, payload)]


def _identifies(value: Any) -> bool:
    try:
        return str(uuid.UUID(value)) == value
    except (ValueError, AttributeError, TypeError):
        return False


def _record(conn: Connection, now: datetime, heard: Sequence[Heard]) -> None:
    head = auditlog.lock_head(conn)
    fresh = {payload["event_id"]: (event_type, payload) for event_type, payload in heard}
    for known in auditlog.known(conn, list(fresh)):
        del fresh[known]
    entries: list[Entry] = []
    for event_type, payload in fresh.values():
        entries.append(ledger.append(head, event_type, payload, now))
        head = ledger.head_of(entries[-1])
    auditlog.append(conn, entries)
    if entries:
        crash.at(Point.AUDIT_UNCOMMITTED)
