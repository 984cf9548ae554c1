"""A purge of records leaves the proof of their events: `audit verify` reports none of them."""

from dataclasses import replace

from snapmanage.audit import checkpoints
from snapmanage.audit.listener import Listener
from snapmanage.bus import Delivery, envelope
from snapmanage.bus.names import Names
from snapmanage.core import lifecycle
from snapmanage.core.maintenance.purge import Kind
from snapmanage.core.records import Status, Volume
from snapmanage.manage.application import Application
from snapmanage.testing.clock import FakeClock
from tests import examples
from tests.examples import NOW, REQUESTER, new_id
from tests.functional.audit.messages import QUEUE, findings, managed
from tests.functional.manage.maintenance.purge.history import change, pass_days, present, purged, write


def unmanaged(app: Application) -> str:
    """Unmanage a snapshot, let the listener write its events, and return its id."""
    snapshot = examples.snapshot(id=new_id(), status=Status.AVAILABLE)
    write(app, snapshot)
    requested = lifecycle.unmanage(snapshot, REQUESTER, app.db.now())
    sent = change(app, requested) + change(app, lifecycle.succeed(requested.after, None, app.db.now()))
    bodies = [publication.body for each in sent for publication in envelope.publications(each, Names(), NOW)]
    Listener(app.db)([Delivery(QUEUE, body) for body in bodies])
    return snapshot.id


def test_events_of_a_purged_snapshot_are_not_reported_as_forged(app: Application, clock: FakeClock) -> None:
    snapshot_id = unmanaged(app)
    pass_days(app, clock)
    assert findings(app.db) == []

    purged(app, Kind.TOMBSTONES)

    assert present(app, snapshot_id) == []
    assert findings(app.db) == []


def test_purge_of_a_volume_with_the_id_of_a_purged_snapshot_leaves_the_proof(
    app: Application, clock: FakeClock
) -> None:
    """A client of the broker chooses the ids of the records that its casts describe."""
    volume = examples.volume(id=unmanaged(app))
    write(app, replace(volume, status=Status.ERROR, updated_at=app.db.now()))
    pass_days(app, clock)

    purged(app, Kind.TOMBSTONES, Kind.FAILED)

    assert present(app, volume.id) == present(app, volume.id, kind=Volume) == []
    assert findings(app.db) == []


def test_purged_snapshot_may_have_events_on_both_sides_of_the_base(app: Application, clock: FakeClock) -> None:
    snapshot, (start, end) = managed(new_id())
    write(app, replace(snapshot, status=Status.DELETED, deleted_at=app.db.now()))
    Listener(app.db)([start])
    list(checkpoints.purge(app.db, checkpoints.plan_purge(app.db, checkpoints.make(app.db, "f" * 64))))
    Listener(app.db)([end])
    pass_days(app, clock)

    purged(app, Kind.TOMBSTONES)

    assert present(app, snapshot.id) == []
    assert [each for each in findings(app.db) if not each.startswith("NOTE: rows up to ")] == []
