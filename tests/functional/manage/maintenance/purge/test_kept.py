"""Purging keeps each row that something may still refer to, on every database."""

import json
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.bus import envelope
from snapmanage.core import lifecycle, retries
from snapmanage.core.maintenance.purge import Kind, Obstacle
from snapmanage.core.outbox import cast
from snapmanage.core.records import Operation, Snapshot, Status, Volume
from snapmanage.core.services import Service
from snapmanage.manage import acceptance
from snapmanage.manage.acceptance import OperationRequest
from snapmanage.manage.application import Application
from snapmanage.manage.claims import WorkerId
from snapmanage.manage.maintenance.purge import Result
from snapmanage.store import quarantine, records, services
from snapmanage.testing.clock import FakeClock
from tests import examples
from tests.examples import SERVER, new_id
from tests.functional.manage.maintenance.purge.history import (
    OLD,
    failed,
    pass_days,
    present,
    purged,
    quarantined_cast,
    tombstone,
    tombstone_of_volume,
    user_messages,
    write,
)


def test_records_in_use_are_never_deleted(app: Application, clock: FakeClock) -> None:
    fields: list[dict[str, Any]] = [
        {"status": Status.CREATING},
        {"status": Status.AVAILABLE},
        {"status": Status.UNMANAGING, "operation": Operation.UNMANAGE},
        {"status": Status.ERROR, "operation": Operation.UNMANAGE},  # it could not be unmanaged
    ]
    used = [write(app, examples.snapshot(id=new_id(), updated_at=app.db.now(), **each)) for each in fields]
    pass_days(app, clock)

    purged(app, *Kind)

    assert present(app, *used) == used
    assert present(app, examples.VOLUME_ID, kind=Volume) == [examples.VOLUME_ID]


def test_old_user_messages_of_records_in_use_are_deleted(app: Application, clock: FakeClock) -> None:
    kept = failed(app)
    pass_days(app, clock)
    young = failed(app)

    assert purged(app, Kind.MESSAGES) == {Kind.MESSAGES: Result(Kind.MESSAGES, deleted=1)}
    assert user_messages(app) == [young]
    assert present(app, kept) == [kept]


def test_record_with_an_unsent_message_is_kept(app: Application, clock: FakeClock) -> None:
    unsent = failed(app)
    app.run(lambda tx: tx.post([cast(examples.snapshot(id=unsent))]))
    pass_days(app, clock)

    assert purged(app, Kind.FAILED)[Kind.FAILED].kept == {Obstacle.UNSENT: 1}
    assert present(app, unsent) == [unsent]


def test_quarantined_cast_that_is_too_large_to_be_carried_out_keeps_no_record(
    app: Application, clock: FakeClock
) -> None:
    named = tombstone(app)
    quarantined_cast(app, named, name="a" * envelope.LARGEST_REQUEST)
    pass_days(app, clock)

    assert purged(app, Kind.TOMBSTONES)[Kind.TOMBSTONES].deleted == 1


def test_deeply_nested_cast_in_the_quarantine_does_not_slow_the_purge(app: Application, clock: FakeClock) -> None:
    """It took minutes while each level was written into an error with all that is inside."""
    named = tombstone(app)
    nested = f"{'[' * 600}[{json.dumps('x' * 200_000)},{json.dumps(named)}]{']' * 600}"
    body = envelope.request("manage_snapshot", {"ref": json.loads(nested)}, {}, "x")
    app.db.write(lambda conn, now: quarantine.add(conn, SERVER, body, {}, "it is nested too deep", now))
    pass_days(app, clock)
    begun_at = time.monotonic()

    purged(app, Kind.TOMBSTONES)

    assert time.monotonic() - begun_at < 3
    assert present(app, named) == [named]


def test_record_that_a_quarantined_cast_names_is_kept_until_the_cast_is_gone(
    app: Application, clock: FakeClock
) -> None:
    named = tombstone(app)
    pass_days(app, clock)
    quarantined_cast(app, named)
    app.db.write(lambda conn, now: quarantine.add(conn, SERVER, b"\xff garbage", {}, "unreadable", now))

    kept = purged(app, Kind.TOMBSTONES)[Kind.TOMBSTONES]
    pass_days(app, clock)
    result = purged(app, Kind.QUARANTINE, Kind.TOMBSTONES)

    assert (kept.deleted, kept.kept) == (0, {Obstacle.QUARANTINED: 1})
    assert [each.deleted for each in result.values()] == [2, 1]
    assert present(app, named) == []


def test_records_of_a_server_that_is_down_are_kept_unless_it_is_gone(app: Application, clock: FakeClock) -> None:
    """The queue of a server that is down may hold casts of any age."""
    old = tombstone(app)
    clock.advance(days=OLD)

    kept = purged(app, Kind.TOMBSTONES)[Kind.TOMBSTONES]
    result = purged(app, Kind.TOMBSTONES, gone={SERVER})[Kind.TOMBSTONES]

    assert (kept.deleted, kept.kept) == (0, {Obstacle.SERVER_DOWN: 1})
    assert result.deleted == 1
    assert present(app, old) == []


def test_server_that_has_sent_a_heartbeat_is_not_gone(app: Application, clock: FakeClock) -> None:
    clock.advance(days=39)

    with pytest.raises(errors.InvalidRequest, match=f"server {SERVER} is not gone.*start it"):
        purged(app, Kind.TOMBSTONES, gone={SERVER})


def test_unknown_name_of_a_gone_server_is_refused_and_nothing_is_deleted(app: Application, clock: FakeClock) -> None:
    old = tombstone(app)
    pass_days(app, clock)

    with pytest.raises(errors.InvalidRequest, match="no server is named 'storage-1@elsewhere'; `service list` shows"):
        purged(app, Kind.TOMBSTONES, gone={SERVER, "storage-1@elsewhere"})

    assert present(app, old) == [old]


def test_failed_snapshot_whose_object_may_be_renamed_is_kept(app: Application, clock: FakeClock) -> None:
    """Its record is the only place of the original name; `reconcile` reports such an object."""
    bound: dict[str, Any] = {"backend_id": "i", "original_name": "daily"}
    renamed = failed(app, **bound, backend_name="snapshot-1")
    unchanged = failed(app, **bound, backend_name="daily")
    pass_days(app, clock)

    assert purged(app, Kind.FAILED)[Kind.FAILED].kept == {Obstacle.RESOLVED: 1}
    assert present(app, renamed, unchanged) == [renamed]


def test_failed_volume_with_snapshots_is_kept_until_they_are_purged(app: Application, clock: FakeClock) -> None:
    volume = failed(app, examples.volume)
    tombstone(app, volume_id=volume)
    pass_days(app, clock)

    kept = purged(app, Kind.FAILED)[Kind.FAILED]
    result = purged(app, Kind.TOMBSTONES, Kind.FAILED)[Kind.FAILED]

    assert (kept.deleted, kept.kept) == (0, {Obstacle.HAS_SNAPSHOTS: 1})
    assert result.deleted == 1


def test_tombstone_of_a_volume_is_kept_until_those_of_its_snapshots_are_purged(
    app: Application, clock: FakeClock
) -> None:
    young = tombstone_of_volume(app)
    pass_days(app, clock)
    tombstone(app, volume_id=young)
    first = purged(app, Kind.TOMBSTONES)[Kind.TOMBSTONES]
    pass_days(app, clock)

    result = purged(app, Kind.TOMBSTONES)[Kind.TOMBSTONES]

    assert (first.deleted, first.kept) == (0, {Obstacle.HAS_SNAPSHOTS: 1})
    assert result.deleted == 2
    assert present(app, young, kind=Volume) == []


def test_failed_snapshot_that_is_retried_meanwhile_is_kept(
    app: Application, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot_id = failed(app)
    pass_days(app, clock)
    lock = records.lock_many

    def retry_first(*arguments: Any) -> Any:
        monkeypatch.undo()
        requested = retries.retry_manage(lock(*arguments)[0], examples.REQUESTER, app.db.now())
        records.update(arguments[0], [requested], locked=True)
        return lock(*arguments)

    monkeypatch.setattr(records, "lock_many", retry_first)

    assert purged(app, Kind.FAILED)[Kind.FAILED].deleted == 0
    assert present(app, snapshot_id) == [snapshot_id]


def test_server_with_records_and_disabled_server_are_kept(app: Application, clock: FakeClock) -> None:
    app.db.write(lambda conn, now: services.beat(conn, Service("storage-9@disabled", "fake", now)))
    app.db.write(lambda conn, _: services.disable(conn, "storage-9@disabled", "new disks"))
    clock.advance(days=OLD)

    result = purged(app, Kind.SERVICES)[Kind.SERVICES]

    assert result == Result(Kind.SERVICES, kept={Obstacle.DISABLED: 1, Obstacle.HAS_RECORDS: 1})


def test_failed_snapshot_that_is_unmanaged_meanwhile_is_kept(
    app: Application, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = failed(app)
    pass_days(app, clock)
    lock = records.lock_many

    def lock_late(*arguments: Any) -> Any:
        monkeypatch.setattr(records, "lock_many", lock)
        requested = lifecycle.unmanage(lock(*arguments)[0], examples.REQUESTER, app.db.now())
        records.update(arguments[0], [requested], locked=True)
        return lock(*arguments)

    monkeypatch.setattr(records, "lock_many", lock_late)

    assert purged(app, Kind.FAILED)[Kind.FAILED].deleted == 0
    assert present(app, old) == [old]


def test_late_cast_within_the_minimum_age_still_finds_the_tombstone(app: Application, clock: FakeClock) -> None:
    """A purge with the least age deletes no tombstone that a cast of 29 days can reach."""
    described = examples.snapshot(id=new_id())
    app.db.write(lambda conn, now: records.insert(conn, replace(described, status=Status.DELETED, deleted_at=now)))
    pass_days(app, clock, days=29)
    purged(app, Kind.TOMBSTONES, older_than=timedelta(days=30))

    request = OperationRequest(Snapshot, described.id, Operation.MANAGE, described)
    accepted = acceptance.accept(app, [request], WorkerId(SERVER, "worker"), room=1)

    assert (accepted.claimed, accepted.refused) == ([], [])


@pytest.mark.parametrize(("days", "ttl", "least"), [(29.9, 1, "30 days"), (40, 50, "50 days")])
def test_rows_that_may_still_be_needed_are_refused(app: Application, days: float, ttl: int, least: str) -> None:
    holding = replace(app, rules=replace(app.rules, idempotency_key_ttl=timedelta(days=ttl)))

    with pytest.raises(errors.InvalidRequest, match=f"older than {least}.*idempotency_key_ttl_seconds"):
        purged(holding, Kind.TOMBSTONES, older_than=timedelta(days=days))
