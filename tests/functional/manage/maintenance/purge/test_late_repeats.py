"""A cast that waited in a queue for any time finds that its record was purged, and has no effect."""

from dataclasses import replace
from typing import Any

import pytest

from snapmanage.core.maintenance.purge import Kind
from snapmanage.core.records import Operation, Record, Snapshot, Status, Volume
from snapmanage.manage import acceptance
from snapmanage.manage.acceptance import OperationRequest
from snapmanage.manage.application import Application
from snapmanage.manage.claims import WorkerId
from snapmanage.store import records
from snapmanage.testing.clock import FakeClock
from tests import examples
from tests.examples import SERVER, new_id
from tests.functional.audit.messages import findings
from tests.functional.manage.maintenance.purge.history import pass_days, present, purged, write

WORKER = WorkerId(SERVER, "worker")


def deleted(app: Application, described: Snapshot) -> Record:
    return replace(described, status=Status.DELETED, deleted_at=app.db.now())


def failed(app: Application, described: Record) -> Record:
    return replace(described, status=Status.ERROR, updated_at=app.db.now())


def cast(described: Any) -> OperationRequest:
    """Return the request of an upstream API, which describes its record."""
    volume = examples.volume() if isinstance(described, Snapshot) else None
    return OperationRequest(type(described), described.id, Operation.MANAGE, described, volume)


@pytest.mark.parametrize(
    ("kind", "make", "past"),
    [
        (Kind.TOMBSTONES, examples.snapshot, deleted),
        (Kind.FAILED, examples.snapshot, failed),
        (Kind.FAILED, examples.volume, failed),
    ],
    ids=["tombstone", "failed snapshot", "failed volume"],
)
def test_cast_that_waited_during_an_outage_is_ignored_after_a_purge(
    app: Application, clock: FakeClock, caplog: pytest.LogCaptureFixture, kind: Kind, make: Any, past: Any
) -> None:
    """The server runs again, so the purge deletes the record, before the server has read its queue."""
    described = make(id=new_id())
    write(app, past(app, described))
    pass_days(app, clock)
    assert purged(app, kind)[kind].deleted == 1

    accepted = [acceptance.accept(app, [cast(described)] * 2, WORKER, room=2) for _ in range(2)]

    assert [(each.claimed, each.refused) for each in accepted] == [([], [])] * 2
    assert present(app, described.id, kind=type(described)) == []
    assert findings(app.db) == []
    assert f"record_id={described.id}" in caplog.text


def test_new_casts_beside_a_late_repeat_are_accepted(app: Application, clock: FakeClock) -> None:
    late, new = examples.snapshot(id=new_id()), examples.snapshot(id=new_id())
    write(app, deleted(app, late))
    pass_days(app, clock)
    purged(app, Kind.TOMBSTONES)

    accepted = acceptance.accept(app, [cast(late), cast(new)], WORKER, room=2)

    assert [each.record.id for each in accepted.claimed] == [new.id]
    assert present(app, late.id, new.id) == [new.id]


def test_snapshot_of_a_purged_volume_can_be_requested_with_its_volume(app: Application, clock: FakeClock) -> None:
    """The upstream API knows the volume under its id still, and describes it."""
    volume = examples.volume(id=new_id())
    write(app, failed(app, volume))
    pass_days(app, clock)
    purged(app, Kind.FAILED)
    described = examples.snapshot(id=new_id(), volume_id=volume.id)
    request = OperationRequest(Snapshot, described.id, Operation.MANAGE, described, volume)

    accepted = acceptance.accept(app, [request], WORKER, room=1)

    assert [each.record.id for each in accepted.claimed] == [described.id]
    with app.db.read() as conn:
        assert records.get(conn, Volume, volume.id)


def test_late_repeat_does_not_bring_its_purged_volume_back(app: Application, clock: FakeClock) -> None:
    volume, late = examples.volume(id=new_id()), examples.snapshot(id=new_id())
    write(app, failed(app, volume))
    write(app, deleted(app, late))
    pass_days(app, clock)
    purged(app, Kind.TOMBSTONES)
    purged(app, Kind.FAILED)
    described = replace(late, volume_id=volume.id)

    acceptance.accept(app, [OperationRequest(Snapshot, late.id, Operation.MANAGE, described, volume)], WORKER, room=1)

    assert present(app, late.id, kind=Snapshot) == present(app, volume.id, kind=Volume) == []
