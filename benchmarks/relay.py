"""The speed of the relay alone, from the outbox to the bus."""

from typing import Any

from benchmarks import seed
from benchmarks.world import Meter, World
from snapmanage.core import events, lifecycle
from snapmanage.core.outbox import Message, notifications
from snapmanage.core.records import Requester, Snapshot
from snapmanage.core.reference import Reference
from snapmanage.core.values.location import Location
from snapmanage.core.values.retry import Retry
from snapmanage.store import outbox
from snapmanage.testing.waiting import until

EVENTS = 10_000


def run(world: World) -> dict[str, Any]:
    with world.installation() as app:
        app.prepare_events()
        owed = [message for number in range(EVENTS) for message in _event(app.servers[0], number)]
        with app.db.engine.begin() as conn:
            outbox.add(conn, owed, seed.CREATED_AT, seed.CREATED_AT)
        pid, _ = app.start("relay")
        meter = Meter(world, {"relay": [pid]})
        until(lambda: app.events() >= EVENTS and app.count("SELECT COUNT(*) FROM outbox") == 0, "the last event", 300)
        return meter.read(EVENTS)


def _event(server: str, number: int) -> list[Message]:
    """Return the messages that announce the event `start`."""
    requester = Requester(seed.PROJECT)
    snapshot = Snapshot(
        id=seed.derived_id(server, number),
        requester=requester,
        location=Location.parse(server),
        reference=Reference.named(seed.source_name(number)),
        due_at=seed.CREATED_AT,
        created_at=seed.CREATED_AT,
        volume_id=seed.derived_id(server, seed.VOLUME),
    )
    retry = Retry(5, seed.CREATED_AT - seed.CREATED_AT, seed.CREATED_AT - seed.CREATED_AT)
    claimed = lifecycle.claim(snapshot, "me", seed.CREATED_AT, seed.FOREVER - seed.CREATED_AT, retry)
    assert claimed is not None
    assert claimed.event is not None
    assert claimed.event.event_type.endswith(events.Step.START.value)
    return notifications(claimed.event, requester, both_dialects=False)
