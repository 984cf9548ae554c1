"""The reasons why an operation is stuck, as an operator reads them."""

from datetime import datetime, timedelta

import pytest

from snapmanage.core import edits, lifecycle, retries
from snapmanage.core.edits import Edit
from snapmanage.core.maintenance.stuck import explain
from snapmanage.core.records import Operation, Snapshot, Status
from snapmanage.core.services import Service
from tests import examples
from tests.examples import NOW, SERVER

MINUTE = timedelta(minutes=1)
LONG_AGO = NOW - 5 * MINUTE
UP = Service(SERVER, "fake", NOW)
DOWN = Service(SERVER, "fake", LONG_AGO)


def overdue_snapshot(**fields: object) -> Snapshot:
    return examples.snapshot(**{"created_at": LONG_AGO, **fields})


def explanation(record: Snapshot, cast_due_at: datetime | None = None, service: Service | None = UP) -> str:
    found = explain(record, NOW, MINUTE, cast_due_at, service, MINUTE)
    assert found is not None
    return found.why


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (overdue_snapshot(), "hasn't accepted it, and no cast"),
        (overdue_snapshot(due_at=NOW - MINUTE), "no worker claims it"),
        (overdue_snapshot(due_at=NOW + MINUTE, claimed_by="w", attempt=2), "attempt 2 is at w, whose lease runs until"),
        (overdue_snapshot(due_at=NOW - MINUTE, claimed_by="w", attempt=2), "whose lease ran out at"),
        (overdue_snapshot(due_at=NOW + MINUTE, attempt=3, reason="it is away"), "attempt 3 failed, the next is at"),
    ],
)
def test_each_reason_for_a_stuck_operation_is_named(record: Snapshot, expected: str) -> None:
    assert expected in explanation(record)


def test_explanation_shows_when_a_pending_cast_is_sent_again() -> None:
    assert "its cast is sent again at" in explanation(overdue_snapshot(), NOW + MINUTE)


def test_reason_of_the_last_failure_is_shown() -> None:
    assert "it is away" in explanation(overdue_snapshot(due_at=NOW + MINUTE, reason="it is away"))


@pytest.mark.parametrize(
    ("service", "expected"), [(UP, "is up"), (DOWN, "last heartbeat at"), (None, "never sent a heartbeat")]
)
def test_state_of_the_server_is_shown(service: Service | None, expected: str) -> None:
    assert expected in explanation(overdue_snapshot(), service=service)


@pytest.mark.parametrize(
    "record",
    [
        overdue_snapshot(created_at=NOW),
        overdue_snapshot(status=Status.AVAILABLE),
        overdue_snapshot(status=Status.ERROR),
        overdue_snapshot(status=Status.UNMANAGING, operation=Operation.UNMANAGE, updated_at=NOW),
    ],
)
def test_settled_or_recent_operation_is_not_stuck(record: Snapshot) -> None:
    assert explain(record, NOW, MINUTE, None, UP, MINUTE) is None


@pytest.mark.parametrize("operation", [Operation.MANAGE, Operation.UNMANAGE])
def test_rename_does_not_hide_an_operation_that_no_worker_claims(operation: Operation) -> None:
    settled = overdue_snapshot(status=Status.ERROR, operation=operation, generation=2)
    request = retries.retry_manage if operation is Operation.MANAGE else lifecycle.unmanage
    requested = request(settled, examples.REQUESTER, LONG_AGO).after

    renamed = edits.apply(requested, Edit({"name": "new"}), NOW).after

    found = explain(renamed, NOW, MINUTE, None, UP, MINUTE)
    assert found is not None
    assert found.since == LONG_AGO


def test_operation_that_was_retried_lately_is_not_stuck() -> None:
    retried = overdue_snapshot(generation=2, updated_at=NOW)

    assert explain(retried, NOW, MINUTE, None, UP, MINUTE) is None
    assert explain(retried, NOW + MINUTE, MINUTE, None, UP, MINUTE)


def test_operation_that_was_retried_long_ago_is_stuck_after_each_claim() -> None:
    retried = overdue_snapshot(generation=3, started_at=LONG_AGO, updated_at=NOW, due_at=NOW + MINUTE, claimed_by="w")

    found = explain(retried, NOW, MINUTE, None, UP, MINUTE)

    assert found is not None
    assert found.since == LONG_AGO
