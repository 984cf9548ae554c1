"""Claims: a lease, a claim number, and attempts that are counted."""

from datetime import timedelta

import pytest

from snapmanage.core import lifecycle
from snapmanage.core.records import Operation, Snapshot, Status
from tests.examples import LEASE, NOW, RETRY
from tests.unit.core.lifecycle.snapshots import (
    LATER,
    accepted_snapshot,
    claim_due_record,
    claimed_snapshot,
    event_type,
    managed_snapshot,
    requested_snapshot,
    resolved_snapshot,
)


def test_first_claim_takes_a_lease_and_announces_the_start() -> None:
    change = claim_due_record(accepted_snapshot())

    assert change.after == accepted_snapshot(
        generation=1,
        claim_number=1,
        attempt=1,
        claimed_by="worker 1",
        due_at=NOW + LEASE,
        started_at=NOW,
        updated_at=NOW,
        step_at=NOW,
    )
    assert event_type(change) == "snapshot.manage.start"


@pytest.mark.parametrize(
    "record",
    [
        requested_snapshot(),
        accepted_snapshot(due_at=LATER),
        claimed_snapshot(),
        managed_snapshot(),
        managed_snapshot(due_at=NOW),
        requested_snapshot(status=Status.ERROR, due_at=NOW),
    ],
    ids=["not accepted", "waits for its next attempt", "leased", "settled", "settled and due", "in error"],
)
def test_record_that_is_not_due_cannot_be_claimed(record: Snapshot) -> None:
    assert lifecycle.claim(record, "worker 2", NOW, LEASE, RETRY) is None


def test_lease_holds_until_its_last_moment() -> None:
    microsecond = timedelta(microseconds=1)

    assert lifecycle.claim(claimed_snapshot(), "worker 2", NOW + LEASE - microsecond, LEASE, RETRY) is None
    assert lifecycle.claim(claimed_snapshot(), "worker 2", NOW + LEASE, LEASE, RETRY) is not None


def test_second_claim_announces_no_start() -> None:
    change = claim_due_record(claimed_snapshot(claimed_by="dead worker"), NOW + LEASE)

    assert change.event is None
    assert change.after.started_at == NOW
    assert (change.after.claimed_by, change.after.claim_number, change.after.attempt) == ("worker 1", 2, 2)
    assert change.after.generation == 1


def test_operation_whose_workers_all_died_fails_with_the_last_reason() -> None:
    change = claim_due_record(
        claimed_snapshot(attempt=3, reason="the array rebooted", reason_code="backend_unavailable"), NOW + LEASE
    )

    assert event_type(change) == "snapshot.manage.error"
    assert change.after.status is Status.ERROR
    assert change.after.reason_code == "attempts_exhausted"
    assert "3 attempts" in (change.after.reason or "")
    assert "the array rebooted" in (change.after.reason or "")
    assert (change.after.due_at, change.after.claimed_by, change.after.reference_key) == (None, None, None)


def test_renewed_lease_runs_from_now_under_the_same_claim_number() -> None:
    change = lifecycle.renew(claimed_snapshot(), LATER, LEASE)

    assert change.after == claimed_snapshot(due_at=LATER + LEASE)


def test_attempt_of_a_released_claim_does_not_count() -> None:
    change = lifecycle.release(resolved_snapshot(), LATER)

    assert change.after == resolved_snapshot(attempt=0, claimed_by=None, due_at=NOW, updated_at=LATER, step_at=LATER)
    assert event_type(claim_due_record(change.after, LATER)) is None


def test_released_operation_is_due_before_later_ones() -> None:
    released = lifecycle.release(resolved_snapshot(started_at=NOW), LATER).after

    later = lifecycle.accept(requested_snapshot(), Operation.MANAGE, NOW + timedelta(microseconds=1))

    assert later is not None
    assert (released.due_at, later.after.due_at) == (NOW, NOW + timedelta(microseconds=1))
