"""From the bus to the audit log: each event once, in a chain.

Repeats are known by `event_id`. A message that is no event of ours (other services share the topic)
is passed over; one that claims to be ours and can't be understood, or kept, goes to the quarantine.
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from snapmanage import crash, errors
from snapmanage.bus import Delivery, envelope
from snapmanage.core import audit as ledger
from snapmanage.core.audit import Entry, Gap
from snapmanage.core.events import PAYLOAD_FIELDS
from snapmanage.core.ids import is_uuid
from snapmanage.core.text import DEEPEST_EVENT, depth, keepable, readable
from snapmanage.crash import Point
from snapmanage.store import audit as auditlog
from snapmanage.store import quarantine
from snapmanage.store.engine import database
from snapmanage.store.engine.database import Database

LOG = logging.getLogger(__name__)

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
                self.put_aside(delivery, str(error))
        if heard:
            crash.at(Point.HEARD)
            self._keep(heard)

    def _keep(self, heard: Sequence[tuple[Heard, Delivery]]) -> None:
        try:
            self._db.write(lambda conn, now: _record(conn, now, [event for event, _ in heard]))
        except database.UNKEEPABLE as error:
            if database.passes(error):
                raise  # the batch comes again
            self._keep_apart(heard, error)

    def _keep_apart(self, heard: Sequence[tuple[Heard, Delivery]], error: Exception) -> None:
        """Find the one whose values the database refuses, and spare its neighbours."""
        if len(heard) > 1:
            for each in heard:
                self._keep([each])
        else:
            self.put_aside(heard[0][1], f"{type(error).__name__}: {error}".partition("\n")[0])

    def put_aside(self, delivery: Delivery, reason: str, read: bool = True) -> None:
        """Keep a message apart, for people to look at."""
        LOG.error("A notification on %s goes to the quarantine: %s", delivery.queue, readable(reason))
        self._db.write(
            lambda conn, now: quarantine.add(conn, delivery.queue, delivery.body, delivery.headers, reason, now)
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
    envelope.limit_size(delivery.body, envelope.LARGEST_EVENT)
    if not isinstance(payload, dict) or not payload.keys() >= set(PAYLOAD_FIELDS):
        raise errors.InvalidRequest(f"the payload of {event_type} lacks fields of the published schema")
    if not (_fits(event_type) and is_uuid(payload["event_id"]) and is_uuid(payload["snapshot_id"])):
        raise errors.InvalidRequest(
            "event_id and snapshot_id must be UUIDs, and the type a text of up to 255 characters"
        )
    if depth(payload) > DEEPEST_EVENT:
        raise errors.InvalidRequest(f"the payload is nested more than {DEEPEST_EVENT} levels deep")
    generation = payload["generation"]
    if type(generation) is not int or not 0 <= generation < 2**31:
        raise errors.InvalidRequest(f"the generation must be a whole number, not {generation!r}")
    return [(event_type, payload)]


def _fits(event_type: str) -> bool:
    return len(event_type) <= 255 and keepable(event_type)


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
