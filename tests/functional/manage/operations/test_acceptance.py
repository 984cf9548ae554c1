"""Acceptance: a server accepts each request once."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import sqlalchemy as sa

from snapmanage import errors
from snapmanage.core.records import Operation, Record, Requester, Snapshot, Status
from snapmanage.manage import acceptance, unmanaging
from snapmanage.manage.acceptance import OperationRequest
from snapmanage.manage.claims import WorkerId
from snapmanage.store import records
from tests import examples
from tests.examples import NOW, PROJECT, REQUESTER, SERVER, new_id
from tests.functional.manage.operations.bench import DAILY, DISK, MONTHLY, WEEKLY, Bench, fields


def test_accepted_request_is_due_and_its_cast_is_deleted(bench: Bench) -> None:
    requested = bench.request()

    assert bench.accept(requested) == []

    assert bench.record(requested).due_at == NOW
    assert bench.messages() == []


def test_request_accepted_twice_is_claimed_once(bench: Bench) -> None:
    requested = bench.request()
    bench.accept(requested, requested)
    bench.accept(requested)

    assert len(bench.claim()) == 1
    bench.accept(requested)
    assert bench.claim() == []


def test_request_that_is_not_accepted_is_not_claimed(bench: Bench) -> None:
    bench.request()

    assert bench.claim() == []


def test_accepted_requests_are_claimed_at_once_for_a_worker_with_room(bench: Bench) -> None:
    first, second, third = (bench.request(source) for source in (DAILY, WEEKLY, MONTHLY))
    received = [OperationRequest(Snapshot, each.id, Operation.MANAGE) for each in (first, second, third)]
    accepted = acceptance.accept(bench.app, received, WorkerId(SERVER, "worker 1"), room=2)

    assert accepted.projects_waiting == {PROJECT}
    assert [claimed.record.id for claimed in accepted.claimed] == [first.id, second.id]
    assert [claimed.record for claimed in accepted.claimed] == [bench.record(each) for each in (first, second)]
    assert all(claimed.volume for claimed in accepted.claimed)
    assert [claimed.record.id for claimed in bench.claim("worker 2")] == [third.id]
    assert [message.name for message in bench.messages()] == ["snapshot.manage.start"] * 3


def test_batch_that_the_database_refuses_is_accepted_in_parts_that_claim_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, refused, last = (bench.request(source) for source in (DAILY, WEEKLY, MONTHLY))
    lock_many = records.lock_many

    def refuse_one(conn: sa.Connection, kind: type[Record], ids: Sequence[str]) -> Sequence[Record]:
        if refused.id in ids:
            raise sa.exc.DataError("SELECT", None, ValueError("out of range"))
        return lock_many(conn, kind, ids)

    monkeypatch.setattr(records, "lock_many", refuse_one)
    batch = [OperationRequest(Snapshot, each.id, Operation.MANAGE) for each in (first, refused, last)]
    accepted = acceptance.accept(bench.app, batch, WorkerId(SERVER, "worker 1"), room=1)
    monkeypatch.undo()

    assert [refusal.request.record_id for refusal in accepted.refused] == [refused.id]
    assert (accepted.claimed, accepted.projects_waiting) == ([], {PROJECT})
    assert {claimed.record.id for claimed in bench.claim("worker 2")} == {first.id, last.id}


def test_request_for_an_unknown_record_is_refused_and_the_others_are_accepted(bench: Bench) -> None:
    requested = bench.request()
    unknown = OperationRequest(Snapshot, new_id(), Operation.MANAGE)

    refused = bench.accept_requests(unknown, OperationRequest(Snapshot, requested.id, Operation.MANAGE))
    assert [(refusal.request, type(refusal.error)) for refusal in refused] == [(unknown, errors.NotFound)]

    assert bench.record(requested).due_at == NOW


def upstream_request(source: str = DAILY) -> OperationRequest:
    """Return a request of an upstream API that keeps its own records."""
    volume = examples.available_volume(DISK, id=new_id())
    record = examples.snapshot(source, id=new_id(), volume_id=volume.id)
    return OperationRequest(Snapshot, record.id, Operation.MANAGE, record, volume)


def test_request_with_the_record_of_an_upstream_is_accepted_as_new(bench: Bench) -> None:
    received = upstream_request()
    later = bench.clock.advance(seconds=5)

    assert bench.accept_requests(received, received) == []
    bench.accept_requests(received)

    assert received.record is not None
    kept = bench.record(received.record)
    assert fields(kept, "status", "created_at", "due_at") == [Status.CREATING, later, later]
    assert bench.claim_one().volume is not None


def test_request_of_an_upstream_for_a_managed_object_ends_in_error(bench: Bench) -> None:
    bench.change_rules(name_template="")
    bench.manage_snapshot()
    received = upstream_request()
    bench.accept_requests(received)

    bench.carry_out_due()

    assert received.record is not None
    assert fields(bench.record(received.record), "status", "reason_code") == [Status.ERROR, "already_managed"]


def test_upstream_with_its_own_records_can_unmanage_its_snapshot(bench: Bench) -> None:
    received = upstream_request()
    bench.accept_requests(received)
    bench.carry_out_due()

    back = replace(
        received, operation=Operation.UNMANAGE, record=None, volume=None, requester=Requester(PROJECT, "carol")
    )
    bench.accept_requests(back)
    bench.carry_out_due()
    bench.accept_requests(back, received)

    assert received.record is not None
    assert bench.record(received.record).status is Status.DELETED
    assert bench.claim() == []
    assert [found.name for found in bench.driver.list_snapshots()].count(DAILY) == 1


def test_late_repeat_does_not_hide_a_later_request(bench: Bench) -> None:
    snapshot = bench.manage_snapshot()
    unmanaging.unmanage(bench.app, snapshot.id, REQUESTER)

    received = [
        OperationRequest(Snapshot, snapshot.id, operation) for operation in (Operation.UNMANAGE, Operation.MANAGE)
    ]
    bench.accept_requests(*received)

    assert bench.record(snapshot).due_at == NOW
