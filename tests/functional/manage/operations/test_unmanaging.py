"""Unmanaging: the object gets its old name, and its record becomes a tombstone."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from snapmanage import errors
from snapmanage.core.backend import Unsafe
from snapmanage.core.outbox import Kind
from snapmanage.core.records import Operation, Requester, Snapshot, Status
from snapmanage.manage import settling, unmanaging
from snapmanage.manage.acceptance import OperationRequest
from snapmanage.manage.claims import Claimed
from snapmanage.manage.settling import Outcome
from snapmanage.store import records
from snapmanage.testing.waiting import until
from tests.examples import PROJECT, REQUESTER, new_id
from tests.functional.databases import ON_SERVERS
from tests.functional.manage.operations.bench import DAILY, Bench, fields


def test_unmanaged_snapshot_has_its_old_name_and_may_be_managed_again(bench: Bench) -> None:
    snapshot = bench.manage_snapshot()

    unmanaging.unmanage(bench.app, snapshot.id, REQUESTER)
    bench.accept(snapshot, operation=Operation.UNMANAGE)
    bench.carry_out_due()

    assert fields(bench.record(snapshot), "status", "reference_key") == [Status.DELETED, None]
    assert DAILY in [found.name for found in bench.driver.list_snapshots()]
    assert bench.message_names()[2:] == ["snapshot.unmanage.start", "snapshot.unmanage.end"]
    assert bench.manage_snapshot().status is Status.AVAILABLE


def test_unmanage_is_cast_with_the_id_of_its_own_request(bench: Bench) -> None:
    snapshot = bench.manage_snapshot()

    unmanaging.unmanage(bench.app, snapshot.id, Requester(PROJECT, "carol", "req-9"))

    (cast,) = (message for message in bench.messages() if message.kind is Kind.CAST)
    assert (cast.name, cast.context["request_id"]) == ("unmanage_snapshot", "req-9")
    assert cast.body == {"snapshot_id": snapshot.id, "generation": bench.record(snapshot).generation}


def snapshot_whose_unmanage_failed(bench: Bench) -> Snapshot:
    """Return a snapshot of an upstream API whose unmanage has failed."""
    snapshot = bench.manage_snapshot()
    bench.accept_requests(unmanage_request(snapshot, "req-1"))
    (claimed,) = bench.claim()
    settling.settle(bench.app, [Outcome(claimed.record, error=errors.Unusable("it broke"))])
    return snapshot


def unmanage_request(snapshot: Snapshot, request_id: str, generation: int | None = None) -> OperationRequest:
    requester = Requester(PROJECT, "carol", request_id)
    return OperationRequest(Snapshot, snapshot.id, Operation.UNMANAGE, requester=requester, generation=generation)


@pytest.mark.parametrize("repeat_first", [False, True])
def test_upstream_can_unmanage_again_after_a_failure(bench: Bench, repeat_first: bool) -> None:
    snapshot = snapshot_whose_unmanage_failed(bench)
    repeat, again = unmanage_request(snapshot, "req-1"), unmanage_request(snapshot, "req-2")

    assert bench.accept_requests(repeat) == []
    assert bench.record(snapshot).status is Status.ERROR
    assert bench.accept_requests(*([repeat, again] if repeat_first else [again, repeat])) == []

    assert fields(bench.record(snapshot), "status", "requester")[1].request_id == "req-2"
    bench.carry_out_due()
    assert bench.record(snapshot).status is Status.DELETED
    assert DAILY in [found.name for found in bench.driver.list_snapshots()]


def test_late_cast_does_not_repeat_an_unmanage_that_has_failed(bench: Bench) -> None:
    snapshot = snapshot_whose_unmanage_failed(bench)
    late = unmanage_request(snapshot, "req-0", generation=bench.record(snapshot).generation - 2)

    assert bench.accept_requests(late) == []

    assert bench.claim() == []
    assert bench.record(snapshot).status is Status.ERROR


def test_late_cast_does_not_change_an_unmanaged_snapshot(bench: Bench) -> None:
    snapshot = bench.manage_snapshot()
    unmanaging.unmanage(bench.app, snapshot.id, REQUESTER)
    bench.accept(snapshot, operation=Operation.UNMANAGE)
    bench.carry_out_due()

    for operation in Operation:
        assert bench.accept(snapshot, operation=operation) == []
    whole = OperationRequest(Snapshot, snapshot.id, Operation.MANAGE, replace(snapshot, status=Status.CREATING))
    assert bench.accept_requests(whole) == []

    assert bench.claim() == []
    assert bench.record(snapshot).status is Status.DELETED


@pytest.mark.parametrize("requester", [Requester("another project"), REQUESTER], ids=["another project's", "unknown"])
def test_snapshot_that_the_project_does_not_have_can_not_be_unmanaged(bench: Bench, requester: Requester) -> None:
    snapshot = bench.manage_snapshot()
    snapshot_id = new_id() if requester is REQUESTER else snapshot.id

    with pytest.raises(errors.SnapshotNotFound):
        unmanaging.unmanage(bench.app, snapshot_id, requester)


@ON_SERVERS
def test_of_two_requests_to_unmanage_one_snapshot_one_is_refused(bench: Bench) -> None:
    snapshot = bench.manage_snapshot()
    waiting: list[str] = []

    @sa.event.listens_for(bench.db.engine, "before_cursor_execute")
    def note(conn: sa.Connection, cursor: Any, statement: str, *more: Any) -> None:
        if "UPDATE" in statement:
            waiting.append(statement)

    def unmanage(_: int) -> bool:
        try:
            unmanaging.unmanage(bench.app, snapshot.id, REQUESTER)
        except errors.InvalidState:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        with bench.db.engine.begin() as another:
            records.lock_many(another, Snapshot, [snapshot.id])
            waiting.clear()
            both = pool.map(unmanage, range(2))
            until(lambda: len(waiting) == 2, "both to wait for the record")

        assert sorted(both) == [False, True]
    assert bench.message_names(Kind.CAST) == ["unmanage_snapshot"]


def test_tombstone_is_not_found(bench: Bench) -> None:
    snapshot = bench.manage_snapshot()
    unmanaging.unmanage(bench.app, snapshot.id, REQUESTER)
    bench.accept(snapshot, operation=Operation.UNMANAGE)
    bench.carry_out_due()

    with pytest.raises(errors.SnapshotNotFound):
        unmanaging.unmanage(bench.app, snapshot.id, REQUESTER)


def test_snapshot_in_progress_can_not_be_unmanaged(bench: Bench) -> None:
    with pytest.raises(errors.InvalidState):
        unmanaging.unmanage(bench.app, bench.request().id, REQUESTER)


def snapshot_renamed_and_in_error(bench: Bench) -> Snapshot:
    """Return a snapshot in error whose object was renamed."""
    requested = bench.request()
    bench.accept(requested)
    claimed = bench.claim_one()
    (resolved,) = bench.resolve(claimed)
    bench.carry_out_step(Claimed(resolved, claimed.volume))
    settling.settle(bench.app, [Outcome(resolved, error=errors.Unusable("it broke"))])
    return requested


def test_unmanage_after_a_failed_manage_restores_the_name_of_the_object(bench: Bench) -> None:
    failed = snapshot_renamed_and_in_error(bench)

    unmanaging.unmanage(bench.app, failed.id, REQUESTER)

    assert bench.record(failed).identity_key is not None
    bench.accept(failed, operation=Operation.UNMANAGE)
    bench.carry_out_due()
    assert DAILY in [found.name for found in bench.driver.list_snapshots()]
    assert fields(bench.record(failed), "status", "identity_key") == [Status.DELETED, None]


@pytest.mark.parametrize("over_the_bus", [False, True])
def test_object_that_another_record_owns_now_is_not_renamed(bench: Bench, over_the_bus: bool) -> None:
    failed = snapshot_renamed_and_in_error(bench)
    bench.app = replace(bench.app, rules=replace(bench.app.rules, name_template=""))
    owner = bench.request(f"snapshot-{failed.id}")
    bench.accept(owner)
    bench.carry_out_due()

    if not over_the_bus:
        unmanaging.unmanage(bench.app, failed.id, REQUESTER)
    bench.accept(failed, operation=Operation.UNMANAGE)
    bench.carry_out_due()

    assert bench.record(failed).status is Status.DELETED
    assert bench.record(owner).status is Status.AVAILABLE
    assert f"snapshot-{failed.id}" in [found.name for found in bench.driver.list_snapshots()]


def test_two_records_of_one_object_can_be_unmanaged_at_the_same_time(bench: Bench) -> None:
    first = snapshot_renamed_and_in_error(bench)
    second = bench.request(f"snapshot-{first.id}")
    bench.accept(second)
    claimed = bench.claim_one()
    (resolved,) = bench.resolve(claimed)
    settling.settle(bench.app, [Outcome(resolved, error=errors.Unusable("it broke"))])

    assert (
        bench.accept_requests(*(OperationRequest(Snapshot, each.id, Operation.UNMANAGE) for each in (first, second)))
        == []
    )
    bench.carry_out_due()

    assert [bench.record(each).status for each in (first, second)] == [Status.DELETED] * 2
    assert DAILY in [found.name for found in bench.driver.list_snapshots()]


def test_snapshot_whose_unmanage_fails_stays_owned(bench: Bench) -> None:
    snapshot = bench.manage_snapshot()
    bench.driver.mark(f"snapshot-{snapshot.id}", Unsafe.IN_USE)
    unmanaging.unmanage(bench.app, snapshot.id, REQUESTER)
    bench.accept(snapshot, operation=Operation.UNMANAGE)

    bench.carry_out_due()

    kept = bench.record(snapshot)
    assert fields(kept, "status", "reason_code", "identity_key") == [Status.ERROR, "in_use", snapshot.identity_key]
    with pytest.raises(errors.AlreadyManaged):
        bench.request()
