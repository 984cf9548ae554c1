"""Retries that clients request: checked like a new request, carried out with all attempts, announced anew."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from snapmanage import errors
from snapmanage.core.backend import Unsafe
from snapmanage.core.outbox import Kind
from snapmanage.core.records import Operation, Record, Requester, Snapshot, Status
from snapmanage.manage import removals, retries, settling, unmanaging
from snapmanage.manage.acceptance import OperationRequest
from snapmanage.manage.claims import Claimed
from snapmanage.manage.settling import Outcome
from snapmanage.store import quotas
from tests import examples
from tests.examples import PROJECT, REQUESTER, VOLUME_ID, new_id
from tests.functional.manage.operations.bench import DAILY, DISK, WEEKLY, Bench, fields

LATE = "volume-1-snapshot-late"


def failed_snapshot(bench: Bench, source: str = LATE, **fields: object) -> Snapshot:
    """Return a snapshot whose object the backend doesn't have."""
    requested = bench.request(source, **fields)
    bench.fail_at_once(requested)
    failed = bench.record(requested)
    assert failed.status is Status.ERROR
    return failed


def carry_out(bench: Bench, record: Record, operation: Operation = Operation.MANAGE) -> None:
    bench.accept(record, operation=operation)
    bench.carry_out_due()


def test_retried_snapshot_is_managed_with_the_next_generations(bench: Bench) -> None:
    failed = failed_snapshot(bench)
    bench.driver.add_snapshot(DISK, LATE)

    requested = retries.retry_snapshot(bench.app, failed.id, REQUESTER)
    carry_out(bench, failed)

    assert (requested.status, requested.attempt) == (Status.CREATING, 0)
    assert fields(bench.record(failed), "status", "generation", "attempt") == [Status.AVAILABLE, 4, 1]
    assert bench.message_names() == [f"snapshot.manage.{step}" for step in ("start", "error", "start", "end")]
    assert [message.body["generation"] for message in bench.messages()] == [1, 2, 3, 4]


def test_retry_that_fails_has_a_message_of_its_own_and_can_be_retried(bench: Bench) -> None:
    failed = failed_snapshot(bench)

    for _ in range(2):
        retries.retry_snapshot(bench.app, failed.id, REQUESTER)
        carry_out(bench, failed)

    assert fields(bench.record(failed), "status", "generation") == [Status.ERROR, 6]
    assert len(bench.user_messages()) == 3


def test_retry_is_cast_once_and_a_late_repeat_changes_nothing(bench: Bench) -> None:
    failed = failed_snapshot(bench)
    retries.retry_snapshot(bench.app, failed.id, REQUESTER)
    assert bench.message_names(Kind.CAST) == ["manage_snapshot"]
    repeat = OperationRequest(Snapshot, failed.id, Operation.MANAGE)

    bench.accept_requests(repeat, repeat)
    assert bench.message_names(Kind.CAST) == []
    bench.carry_out_due()
    bench.accept_requests(repeat)

    assert bench.claim() == []
    assert fields(bench.record(failed), "status", "generation") == [Status.ERROR, 4]


def test_failed_unmanage_can_be_retried(bench: Bench) -> None:
    snapshot = bench.manage_snapshot()
    bench.driver.mark(f"snapshot-{snapshot.id}", Unsafe.IN_USE)
    unmanaging.unmanage(bench.app, snapshot.id, REQUESTER)
    carry_out(bench, snapshot, Operation.UNMANAGE)
    assert bench.record(snapshot).status is Status.ERROR
    bench.driver.mark(f"snapshot-{snapshot.id}", None)

    retries.retry_snapshot(bench.app, snapshot.id, REQUESTER)
    carry_out(bench, snapshot, Operation.UNMANAGE)

    assert bench.record(snapshot).status is Status.DELETED
    assert bench.message_names()[4:] == ["snapshot.unmanage.start", "snapshot.unmanage.end"]
    assert DAILY in [found.name for found in bench.driver.list_snapshots()]


def test_retry_finds_the_object_that_was_renamed_before_the_failure(bench: Bench) -> None:
    requested = bench.request()
    bench.accept(requested)
    claimed = bench.claim_one()
    (resolved,) = bench.resolve(claimed)
    bench.carry_out_step(Claimed(resolved, claimed.volume))
    settling.settle(bench.app, [Outcome(resolved, error=errors.Unusable("it broke"))])

    retries.retry_snapshot(bench.app, requested.id, REQUESTER)
    assert bench.record(requested).identity_key == resolved.identity_key
    carry_out(bench, requested)

    assert fields(bench.record(requested), "status", "original_name") == [Status.AVAILABLE, DAILY]


def test_failed_registration_can_be_retried(bench: Bench) -> None:
    requested = bench.register_volume("late")
    bench.fail_at_once(requested)
    assert bench.volume(requested.id).status is Status.ERROR
    bench.driver.add_volume("late", 1)

    retried = retries.retry_volume(bench.app, requested.id, REQUESTER)
    assert bench.message_names(Kind.CAST) == ["manage_volume"]
    carry_out(bench, requested)

    assert retried.status is Status.CREATING
    assert bench.volume(requested.id).status is Status.AVAILABLE


def test_retry_of_an_object_that_another_snapshot_has_requested_is_refused(bench: Bench) -> None:
    failed = failed_snapshot(bench)
    owner = bench.request(LATE)

    with pytest.raises(errors.AlreadyManaged, match=f"it is snapshot {owner.id}") as refused:
        retries.retry_snapshot(bench.app, failed.id, REQUESTER)

    assert (refused.value.owner_id, refused.value.project_id) == (owner.id, PROJECT)
    assert bench.record(failed) == failed
    assert owner.status is Status.CREATING


def test_retry_of_an_object_that_another_snapshot_has_got_is_refused(bench: Bench) -> None:
    requested = bench.request()
    bench.accept(requested)
    (resolved,) = bench.resolve(bench.claim_one())
    settling.settle(bench.app, [Outcome(resolved, error=errors.Unusable("it broke"))])
    owner = bench.manage_snapshot()

    with pytest.raises(errors.AlreadyManaged, match=f"managed as snapshot {owner.id} now") as refused:
        retries.retry_snapshot(bench.app, requested.id, REQUESTER)

    assert (refused.value.owner_id, refused.value.project_id) == (owner.id, PROJECT)


def test_retry_of_a_volume_that_is_registered_meanwhile_is_refused(bench: Bench) -> None:
    failed = bench.register_volume("late")
    bench.fail_at_once(failed)
    owner = bench.register_volume("late")

    with pytest.raises(errors.AlreadyManaged, match=f"it is volume {owner.id}"):
        retries.retry_volume(bench.app, failed.id, REQUESTER)


@pytest.mark.parametrize("limits", [{"snapshots": 1}, {"gigabytes": 1}])
def test_retry_is_checked_against_the_quota(bench: Bench, limits: dict[str, int]) -> None:
    failed = failed_snapshot(bench)
    owner = bench.manage_snapshot(WEEKLY)
    bench.db.write(lambda conn, _: quotas.change(conn, PROJECT, limits))

    with pytest.raises(errors.QuotaExceeded):
        retries.retry_snapshot(bench.app, failed.id, REQUESTER)

    unmanaging.unmanage(bench.app, owner.id, REQUESTER)
    carry_out(bench, owner, Operation.UNMANAGE)
    assert retries.retry_snapshot(bench.app, failed.id, REQUESTER).status is Status.CREATING


def test_retry_of_a_volume_is_checked_against_the_quota(bench: Bench) -> None:
    failed = bench.register_volume("late")
    bench.fail_at_once(failed)
    owner = bench.register_volume("other")
    bench.db.write(lambda conn, _: quotas.change(conn, PROJECT, {"volumes": 1}))

    with pytest.raises(errors.QuotaExceeded):
        retries.retry_volume(bench.app, failed.id, REQUESTER)

    removals.unmanage_volume(bench.app, owner.id, REQUESTER)
    assert retries.retry_volume(bench.app, failed.id, REQUESTER).status is Status.CREATING


def test_project_with_the_most_failed_records_can_retry_them(bench: Bench) -> None:
    failed = failed_snapshot(bench)
    volume = bench.register_volume("late")
    bench.fail_at_once(volume)
    bench.db.write(lambda conn, _: quotas.change(conn, PROJECT, {"failed_records": 2}))

    assert retries.retry_snapshot(bench.app, failed.id, REQUESTER).status is Status.CREATING
    assert retries.retry_volume(bench.app, volume.id, REQUESTER).status is Status.CREATING


def test_retry_requires_a_server_that_is_up(bench: Bench) -> None:
    failed = failed_snapshot(bench)
    volume = bench.register_volume("late")
    bench.fail_at_once(volume)
    bench.clock.advance(seconds=timedelta(days=40).total_seconds())

    with pytest.raises(errors.ServiceDown):
        retries.retry_snapshot(bench.app, failed.id, REQUESTER)
    with pytest.raises(errors.ServiceDown):
        retries.retry_volume(bench.app, volume.id, REQUESTER)


def test_operation_that_has_not_failed_can_not_be_retried(bench: Bench) -> None:
    managed = bench.manage_snapshot()

    with pytest.raises(errors.InvalidState, match="available; only"):
        retries.retry_snapshot(bench.app, managed.id, REQUESTER)
    with pytest.raises(errors.InvalidState, match="available; only"):
        retries.retry_volume(bench.app, VOLUME_ID, REQUESTER)


@pytest.mark.parametrize("requester", [Requester("another project"), REQUESTER], ids=["another project's", "unknown"])
def test_record_that_the_project_does_not_have_can_not_be_retried(bench: Bench, requester: Requester) -> None:
    failed = failed_snapshot(bench)
    snapshot_id, volume_id = (new_id(), new_id()) if requester is REQUESTER else (failed.id, VOLUME_ID)

    with pytest.raises(errors.SnapshotNotFound):
        retries.retry_snapshot(bench.app, snapshot_id, requester)
    with pytest.raises(errors.VolumeNotFound):
        retries.retry_volume(bench.app, volume_id, requester)


def test_snapshot_of_an_upstream_that_keeps_its_volume_can_be_retried(bench: Bench) -> None:
    record = examples.snapshot(LATE, id=new_id(), volume_id=new_id())
    bench.accept_requests(OperationRequest(Snapshot, record.id, Operation.MANAGE, record))
    bench.carry_out_due()
    bench.driver.add_snapshot(DISK, LATE)

    retries.retry_snapshot(bench.app, record.id, REQUESTER)
    carry_out(bench, record)

    assert bench.record(record).status is Status.AVAILABLE


def test_snapshot_of_a_failed_volume_is_retried_after_the_volume(bench: Bench) -> None:
    volume = bench.register_volume("late")
    bench.fail_at_once(volume)
    record = examples.snapshot("nowhere", id=new_id(), volume_id=volume.id)
    bench.accept_requests(OperationRequest(Snapshot, record.id, Operation.MANAGE, record))
    bench.carry_out_due()

    with pytest.raises(errors.InvalidState, match=f"Volume {volume.id} is error"):
        retries.retry_snapshot(bench.app, record.id, REQUESTER)


def test_of_two_retries_at_the_same_time_one_is_refused(bench: Bench) -> None:
    failed = failed_snapshot(bench)

    def retry(_: int) -> bool:
        try:
            retries.retry_snapshot(bench.app, failed.id, REQUESTER)
        except errors.InvalidState:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(retry, range(4))) == [False, False, False, True]
    assert bench.message_names(Kind.CAST) == ["manage_snapshot"]


@pytest.mark.parametrize("number", range(3))
def test_retry_and_a_new_request_for_one_object_at_the_same_time_have_one_owner(bench: Bench, number: int) -> None:
    failed = failed_snapshot(bench)

    def is_accepted(request: Callable[[], object]) -> bool:
        try:
            request()
        except errors.AlreadyManaged:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        both = [lambda: retries.retry_snapshot(bench.app, failed.id, REQUESTER), lambda: bench.request(LATE)]
        assert sorted(pool.map(is_accepted, both)) == [False, True]
    assert bench.message_names(Kind.CAST) == ["manage_snapshot"]
