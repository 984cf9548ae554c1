"""Retries that clients request: the operation is requested anew, and its record owns its object again."""

from dataclasses import replace

import pytest

from snapmanage import errors
from snapmanage.core import lifecycle, retries
from snapmanage.core.records import Operation, Requester, Snapshot, Status
from tests import examples
from tests.examples import LEASE, NOW, PROJECT, RETRY
from tests.unit.core.lifecycle.snapshots import (
    FINAL,
    LATER,
    accepted_snapshot,
    claim_due_record,
    claimed_snapshot,
    event_type,
    managed_snapshot,
    requested_snapshot,
    resolved_snapshot,
    unmanaging_snapshot,
)

CAROL = Requester("another project", "carol", "req-9")


def failed_snapshot(before: Snapshot | None = None) -> Snapshot:
    return lifecycle.fail(before or claimed_snapshot(), FINAL, NOW, RETRY).after


def retried(record: Snapshot) -> Snapshot:
    return retries.retry_manage(record, CAROL, LATER).after


def test_retried_snapshot_owns_its_reference_and_has_all_its_attempts() -> None:
    record = retried(failed_snapshot(claimed_snapshot(attempt=3)))

    assert (record.status, record.operation, record.attempt) == (Status.CREATING, Operation.MANAGE, 0)
    assert (record.reference_key, record.identity_key) == (requested_snapshot().reference_key, None)
    assert (record.reason, record.reason_code, record.due_at) == (None, None, None)
    assert (record.requester.request_id, record.requester.project_id) == ("req-9", PROJECT)


def test_retried_snapshot_keeps_the_object_that_was_found() -> None:
    failed = failed_snapshot(resolved_snapshot())

    record = retried(failed)

    assert failed.identity_key is None
    assert (record.binding, record.identity_key) == (resolved_snapshot().binding, resolved_snapshot().identity_key)


def test_retry_is_announced_with_the_generation_after_the_failure() -> None:
    record = retried(failed_snapshot())
    change = lifecycle.accept(record, Operation.MANAGE, LATER)
    assert change

    started = claim_due_record(change.after, LATER)

    assert event_type(started) == "snapshot.manage.start"
    assert started.event
    assert started.event.payload["generation"] == failed_snapshot().generation + 1
    ended = lifecycle.fail(started.after, FINAL, LATER, RETRY)
    assert (event_type(ended), ended.message is None) == ("snapshot.manage.error", False)


def test_worker_of_the_failed_operation_can_not_write_into_its_retry() -> None:
    held = claimed_snapshot()

    assert retried(failed_snapshot(held)).fence != held.fence


def test_late_cast_of_the_first_request_starts_no_second_retry() -> None:
    change = lifecycle.accept(retried(failed_snapshot()), Operation.MANAGE, LATER)
    assert change

    assert lifecycle.accept(change.after, Operation.MANAGE, LATER) is None
    failed = lifecycle.fail(claim_due_record(change.after, LATER).after, FINAL, LATER, RETRY).after
    assert lifecycle.accept(failed, Operation.MANAGE, LATER) is None


def test_failed_registration_of_a_volume_can_be_retried() -> None:
    failed = replace(lifecycle.request(examples.volume()), status=Status.ERROR, generation=2, reference_key=None)

    record = retries.retry_manage(failed, CAROL, LATER).after

    assert (record.status, record.reference_key) == (
        Status.CREATING,
        lifecycle.request(examples.volume()).reference_key,
    )
    change = lifecycle.accept(record, Operation.MANAGE, LATER)
    assert change
    assert lifecycle.claim(change.after, "worker", LATER, LEASE, RETRY)


@pytest.mark.parametrize(
    "record",
    [requested_snapshot(), accepted_snapshot(), claimed_snapshot(), managed_snapshot(), unmanaging_snapshot()],
    ids=["requested", "accepted", "claimed", "managed", "unmanaging"],
)
def test_operation_that_has_not_failed_can_not_be_retried(record: Snapshot) -> None:
    with pytest.raises(errors.InvalidState, match=f"Snapshot {record.id} is {record.status.value}; only"):
        retried(record)
