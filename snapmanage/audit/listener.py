"""Write the events of the bus to the audit log: each event once, in a chain.

A repeated event has the `event_id` of the first. Messages of other services that share the topic are ignored. An event
of snapmanage that can't be understood or written is quarantined, and so is an event that contradicts the entry with its
id: one of the two is forged.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from snapmanage import crash, errors
from snapmanage.bus import Delivery, envelope
from snapmanage.core.audit import chain, payloads
from snapmanage.core.audit.chain import Entry, Head, LogState
from snapmanage.core.audit.comparison import differing
from snapmanage.core.events import OWN_EVENT_TYPES, PAYLOAD_FIELDS
from snapmanage.core.values import ids
from snapmanage.core.values.logfields import fields
from snapmanage.core.values.text import readable
from snapmanage.crash import Point
from snapmanage.store import quarantine
from snapmanage.store.audit import log
from snapmanage.store.engine.database import Database
from snapmanage.store.engine.refusals import raise_refusal, write_in_parts

LOG = logging.getLogger(__name__)

# Bytes. A larger message is read only if it holds one of our types: parsing takes many times the bytes of a message.
LARGEST_READ = 64 * 1024

_EVENT_TYPE = re.compile(r"[a-z_.]{1,255}")


@dataclass(frozen=True)
class ReceivedEvent:
    """An event of snapmanage, and the delivery that brought it."""

    event_type: str
    payload: dict[str, Any]
    delivery: Delivery


@dataclass(frozen=True)
class Contradiction:
    """A received event that differs from the entry with its id, whose number is `row`, in the fields `differing`."""

    event: ReceivedEvent
    row: int
    differing: Sequence[str]


class Listener:
    """The handler of the notification queues: the events of a batch are in the audit log when it returns."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def __call__(self, batch: Sequence[Delivery]) -> None:
        received: list[ReceivedEvent] = []
        invalid: list[tuple[Delivery, str]] = []
        for delivery in batch:
            try:
                if event := _parse_event(delivery):
                    received.append(event)
            except errors.InvalidRequest as error:
                invalid.append((delivery, str(error)))
        self._quarantine(invalid)
        if received:
            crash.at(Point.EVENTS_RECEIVED)
            contradictions = write_in_parts(
                received, lambda part: self._db.write(lambda conn, now: _append_new(conn, part, now)), self._refuse
            )
            for contradiction in (each for part in contradictions for each in part):
                _log(contradiction)

    def _refuse(self, event: ReceivedEvent, error: Exception) -> list[Contradiction]:
        self.quarantine(event.delivery, f"{type(error).__name__}: {error}".partition("\n")[0])
        return []

    def quarantine(self, delivery: Delivery, reason: str, read: bool = True) -> None:
        """Quarantine a message; `read` makes no difference, since a quarantined event is not announced."""
        self._quarantine([(delivery, reason)])

    def _quarantine(self, invalid: Sequence[tuple[Delivery, str]]) -> None:
        """Quarantine messages with their reasons, in one transaction: a flood of them must not hold the queue."""
        if not invalid:
            return
        write_in_parts(invalid, lambda part: self._db.write(lambda conn, now: _add(conn, part, now)), raise_refusal)
        for delivery, reason in invalid:
            key = quarantine.key(delivery.queue, delivery.body)
            LOG.error(
                "Quarantined a notification; see `snapmanage-manage quarantine show`: %s",
                fields(message=key, queue=delivery.queue, reason=readable(reason)),
            )
        crash.at(Point.QUARANTINED)


def _add(conn: Connection, invalid: Sequence[tuple[Delivery, str]], now: datetime) -> None:
    for delivery, reason in invalid:
        quarantine.add(conn, delivery.queue, delivery.body, delivery.headers, reason, now)


def _log(contradiction: Contradiction) -> None:
    delivery, payload = contradiction.event.delivery, contradiction.event.payload
    LOG.error(
        "Quarantined an event that contradicts the audit log, so one of the two is forged; "
        "see `snapmanage-manage audit verify`: %s",
        fields(
            message=quarantine.key(delivery.queue, delivery.body),
            row=contradiction.row,
            event=payload["event_id"],
            snapshot=payload["snapshot_id"],
            generation=payload["generation"],
            differing=readable(",".join(contradiction.differing)),
        ),
    )


def _parse_event(delivery: Delivery) -> ReceivedEvent | None:
    """Return the event in a message, None for a message of another service; raise `InvalidRequest` if it is invalid."""
    if len(delivery.body) > LARGEST_READ and not any(kind.encode() in delivery.body for kind in OWN_EVENT_TYPES):
        return None
    envelope.limit_size(delivery.body, envelope.LARGEST_EVENT)
    content = envelope.unwrap(delivery.body)
    event_type, payload = content.get("event_type"), content.get("payload")
    if not isinstance(event_type, str) or not event_type.startswith(OWN_EVENT_TYPES):
        return None
    if not _EVENT_TYPE.fullmatch(event_type):
        raise errors.InvalidRequest("the type must be a text of up to 255 small letters, underscores and dots")
    if not isinstance(payload, dict):
        raise errors.InvalidRequest(f"the payload of {event_type} must be a JSON object")
    if missing := [name for name in PAYLOAD_FIELDS if name not in payload]:
        raise errors.InvalidRequest(f"the payload of {event_type} lacks fields of its schema: {', '.join(missing)}")
    if any(ids.parse_uuid(name, payload[name]) != payload[name] for name in ("event_id", "snapshot_id")):
        raise errors.InvalidRequest("event_id and snapshot_id must be written in small letters with hyphens")
    generation = payload["generation"]
    if type(generation) is not int or not 0 <= generation < 2**31:
        raise errors.InvalidRequest(f"the generation must be a whole number, not {generation!r}")
    if generation and payload["event_id"] != ids.derive(payload["snapshot_id"], str(generation)):
        raise errors.InvalidRequest(f"the event_id is not that of generation {generation} of the snapshot")
    payloads.require_valid(event_type, payload)
    return ReceivedEvent(event_type, payload, delivery)


def _append_new(conn: Connection, events: Sequence[ReceivedEvent], now: datetime) -> list[Contradiction]:
    """Append the events that the log doesn't have yet; quarantine and return those that contradict an entry."""
    state = _locked_state(conn)
    head, numbers = state.head, log.numbers(conn, _event_ids(events))
    fresh: dict[str, Entry] = {}
    contradictions: list[Contradiction] = []
    for event in _unpurged(conn, state, events):
        event_id = event.payload["event_id"]
        entry = fresh.get(event_id) or _entry(conn, numbers.get(event_id))
        if entry is None:
            entry = chain.next_entry(head, event.event_type, event.payload, now)
            head = Head(entry.number, entry.digest)
            fresh[event_id] = entry
        elif names := differing(entry.event_type, entry.payload, event.event_type, event.payload):
            contradictions.append(Contradiction(event, entry.number, names))
    for each in contradictions:
        _quarantine(conn, each, now)
    log.append(conn, list(fresh.values()))
    if fresh:
        crash.at(Point.AUDIT_UNCOMMITTED)
    return contradictions


def _entry(conn: Connection, number: int | None) -> Entry | None:
    """Return one entry; a batch of repeats may name hundreds of entries that have 12 MiB each."""
    return None if number is None else next(log.numbered(conn, [number]), None)


def _locked_state(conn: Connection) -> LogState:
    state = log.state(conn, lock=True)
    if state is None:
        raise errors.Unavailable(
            "the row of table audit_head is missing, so events wait in their queues; "
            "restore tables audit and audit_head from a backup"
        )
    return state


def _event_ids(events: Sequence[ReceivedEvent]) -> set[str]:
    return {event.payload["event_id"] for event in events}


def _unpurged(conn: Connection, state: LogState, events: Sequence[ReceivedEvent]) -> list[ReceivedEvent]:
    """Return the events without the repeats of purged entries, which can't be compared any more.

    A purged event that the record had not announced was forged, so the event of its generation is no repeat.
    """
    if not state.base.number:
        return list(events)
    ids_of_snapshots = {event.payload["snapshot_id"] for event in events}
    purged, announced = log.purged(conn, ids_of_snapshots), log.announced_when_purged(conn, ids_of_snapshots)
    kept = []
    for event in events:
        snapshot_id, generation = event.payload["snapshot_id"], event.payload["generation"]
        was_announced = generation <= announced.get(snapshot_id, generation)
        if was_announced and snapshot_id in purged and generation in purged[snapshot_id]:
            LOG.warning("Ignored the repeat of a purged event: %s", fields(snapshot=snapshot_id, generation=generation))
        else:
            kept.append(event)
    return kept


def _quarantine(conn: Connection, contradiction: Contradiction, now: datetime) -> None:
    delivery, event_id = contradiction.event.delivery, contradiction.event.payload["event_id"]
    reason = f"it contradicts row {contradiction.row} of the audit log in {', '.join(contradiction.differing)}"
    quarantine.add(conn, delivery.queue, delivery.body, delivery.headers, reason, now, event_id)
