"""Events as the bus delivers them, and the audit log that they make."""

import json
from datetime import timedelta
from typing import Any

from snapmanage.audit import verification
from snapmanage.audit.listener import Listener
from snapmanage.bus import Delivery, envelope
from snapmanage.bus.names import Names
from snapmanage.core import events, outbox
from snapmanage.core.audit.chain import Head
from snapmanage.core.audit.checkpoint import Checkpoint
from snapmanage.core.events import Event, Step
from snapmanage.core.records import Snapshot, Status
from snapmanage.core.values import ids
from snapmanage.store import quarantine, records
from snapmanage.store.engine.database import Database
from snapmanage.store.quarantine import QuarantinedMessage
from tests import examples
from tests.examples import NOW, REQUESTER, SNAPSHOT_ID

QUEUE = "notifications.info"


def event(step: Step = Step.START, **fields: Any) -> Event:
    return events.announce(examples.snapshot(**{"generation": 1} | fields), step, NOW)


def delivery(event: Event, queue: str = QUEUE) -> Delivery:
    (message,) = outbox.notifications(event, REQUESTER, both_dialects=False)
    return Delivery(queue, envelope.publications(message, Names(), NOW)[0].body)


def altered(event_type: str = "snapshot.manage.start", **payload: Any) -> Delivery:
    """Return the delivery of an event with other fields; its id is that of its generation, unless it is given."""
    generation = payload.get("generation", 1)
    own = {"event_id": ids.derive(SNAPSHOT_ID, str(generation))} if generation else {}
    return raw({"event_type": event_type, "payload": event().payload | own | payload})


def raw(content: Any) -> Delivery:
    return Delivery(QUEUE, json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(content)}).encode())


def logged(database: Database) -> list[str]:
    return [entry.event_id for entry in verification.trail(database, 100)]


def quarantined(database: Database) -> list[QuarantinedMessage]:
    with database.read() as conn:
        found = [quarantine.get(conn, row.id) for row in quarantine.all_of(conn)]
    return [message for message in found if message]


def findings(
    database: Database,
    since: Head | None = None,
    in_flight: timedelta = timedelta(0),
    checkpoint: Checkpoint | None = None,
) -> list[str]:
    """Return the findings of a verification, as `audit verify` prints them."""
    with verification.opened(database) as log:
        return [f"{each.kind.value}: {each.text}" for each in log.findings(since, in_flight, checkpoint)]


def managed(snapshot_id: str = SNAPSHOT_ID, source: str = "daily") -> tuple[Snapshot, list[Delivery]]:
    """Return the record of a managed snapshot, and the deliveries of its two events."""
    available = examples.snapshot(
        source,
        id=snapshot_id,
        status=Status.AVAILABLE,
        generation=2,
        backend_id=source,
        backend_name=f"snapshot-{snapshot_id}",
        original_name=source,
    )
    start = event(id=snapshot_id, reference=available.reference)
    return available, [delivery(start), delivery(events.announce(available, Step.END, NOW))]


def record(database: Database, snapshot: Snapshot) -> None:
    database.write(lambda conn, _: records.insert(conn, snapshot))


def manage(database: Database, *snapshot_ids: str) -> None:
    """Record managed snapshots, and let the listener write their events."""
    for snapshot_id in snapshot_ids:
        snapshot, deliveries = managed(snapshot_id)
        record(database, snapshot)
        Listener(database)(deliveries)
