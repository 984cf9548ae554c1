"""Requests to manage and to unmanage: they own their reference, and are accepted once."""

from dataclasses import replace
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.core import lifecycle
from snapmanage.core.change import Change
from snapmanage.core.records import Operation, Record, Requester, Snapshot, Status, Volume, owner_key, reference_key
from snapmanage.core.values.location import Location
from tests import examples
from tests.examples import NOW, REQUESTER, RETRY, SERVER
from tests.unit.core.lifecycle.snapshots import (
    FINAL,
    LATER,
    accepted_snapshot,
    claim_due_record,
    claimed_snapshot,
    event_type,
    managed_snapshot,
    requested_snapshot,
    unmanaging_snapshot,
)


def test_request_owns_its_reference_on_its_server() -> None:
    requested = examples.snapshot()

    assert lifecycle.request(requested).reference_key == reference_key(SERVER, requested.reference, requested.volume_id)
    assert lifecycle.request(examples.volume()).reference_key == reference_key(
        SERVER, examples.volume().reference, None
    )


@pytest.mark.parametrize(
    "other",
    [
        {"location": Location("storage-2", "fast")},
        {"reference": examples.snapshot("Daily").reference},
        {"volume_id": examples.new_id()},
    ],
)
def test_requests_collide_on_the_same_server_volume_and_reference_only(other: dict[str, Any]) -> None:
    same_object = lifecycle.request(
        examples.snapshot(id=examples.new_id(), location=replace(examples.LOCATION, pool="another-pool"))
    )

    assert same_object.reference_key == requested_snapshot().reference_key
    assert lifecycle.request(examples.snapshot(**other)).reference_key != requested_snapshot().reference_key


def test_owner_key_always_has_the_same_length() -> None:
    assert {len(owner_key(SERVER, text)) for text in ("", "a", "\U0010ffff" * 5000)} == {64}


def test_accepted_request_is_due_at_once() -> None:
    change = lifecycle.accept(requested_snapshot(), Operation.MANAGE, LATER)

    assert change == Change(requested_snapshot(), requested_snapshot(due_at=LATER))


@pytest.mark.parametrize(
    ("record", "operation"),
    [
        (accepted_snapshot(), Operation.MANAGE),
        (claimed_snapshot(), Operation.MANAGE),
        (managed_snapshot(), Operation.MANAGE),
        (requested_snapshot(status=Status.ERROR), Operation.MANAGE),
        (lifecycle.unmanage(managed_snapshot(), REQUESTER, NOW).after, Operation.MANAGE),
        (unmanaging_snapshot(), Operation.UNMANAGE),
        (lifecycle.succeed(unmanaging_snapshot(), None, NOW).after, Operation.MANAGE),
        (lifecycle.succeed(unmanaging_snapshot(), None, NOW).after, Operation.UNMANAGE),
    ],
)
def test_repeated_or_late_request_changes_nothing(record: Snapshot, operation: Operation) -> None:
    assert lifecycle.accept(record, operation, LATER) is None


@pytest.mark.parametrize("status", [Status.AVAILABLE, Status.ERROR])
def test_upstream_with_its_own_records_unmanages_a_settled_snapshot(status: Status) -> None:
    before = managed_snapshot(status=status)
    requester = Requester(REQUESTER.project_id, "carol", "req-9")

    change = lifecycle.accept(before, Operation.UNMANAGE, LATER, requester)

    assert change is not None
    assert change.after == replace(lifecycle.unmanage(before, requester, LATER).after, due_at=LATER)


@pytest.mark.parametrize("record", [requested_snapshot(), accepted_snapshot(), claimed_snapshot()])
def test_snapshot_that_is_being_managed_cannot_be_unmanaged(record: Snapshot) -> None:
    with pytest.raises(errors.InvalidState, match="it can be unmanaged when"):
        lifecycle.accept(record, Operation.UNMANAGE, LATER)


OTHER_REQUESTER = Requester(REQUESTER.project_id, "carol", "req-9")


@pytest.mark.parametrize(
    ("requester", "behind"),
    [
        (None, None),
        (REQUESTER, None),
        (Requester(REQUESTER.project_id), None),
        (OTHER_REQUESTER, 1),
        (OTHER_REQUESTER, -1),
    ],
    ids=["no requester", "the same request", "no request id", "an older generation", "a later generation"],
)
def test_repeat_of_a_failed_unmanage_starts_no_operation(requester: Requester | None, behind: int | None) -> None:
    failed = lifecycle.fail(unmanaging_snapshot(), FINAL, NOW, RETRY).after
    generation = None if behind is None else failed.generation - behind

    assert lifecycle.accept(failed, Operation.UNMANAGE, LATER, requester, generation=generation) is None


@pytest.mark.parametrize(("requester", "with_generation"), [(OTHER_REQUESTER, False), (REQUESTER, True), (None, True)])
def test_failed_unmanage_may_be_requested_again(requester: Requester | None, with_generation: bool) -> None:
    failed = lifecycle.fail(unmanaging_snapshot(), FINAL, NOW, RETRY).after
    generation = failed.generation if with_generation else None

    change = lifecycle.accept(failed, Operation.UNMANAGE, LATER, requester, generation=generation)

    assert change is not None
    assert change.after == replace(lifecycle.unmanage(failed, requester or REQUESTER, LATER).after, due_at=LATER)


@pytest.mark.parametrize("generation", [None, 1])
def test_cast_of_a_requested_unmanage_is_accepted_with_any_generation(generation: int | None) -> None:
    requested = lifecycle.unmanage(managed_snapshot(), REQUESTER, NOW).after

    change = lifecycle.accept(requested, Operation.UNMANAGE, LATER, generation=generation)

    assert change == Change(requested, replace(requested, due_at=LATER))


@pytest.mark.parametrize("status", [Status.AVAILABLE, Status.ERROR])
def test_settled_snapshot_can_be_unmanaged(status: Status) -> None:
    before = managed_snapshot(status=status, attempt=3, reason="it was busy", reason_code="in_use")

    change = lifecycle.unmanage(before, Requester("another project", "carol", "req-9"), LATER)

    assert change.after == replace(
        before,
        requester=Requester(REQUESTER.project_id, "carol", "req-9"),
        status=Status.UNMANAGING,
        operation=Operation.UNMANAGE,
        attempt=0,
        started_at=None,
        reason=None,
        reason_code=None,
        updated_at=LATER,
        step_at=LATER,
    )
    assert change.event is None


@pytest.mark.parametrize("status", [Status.CREATING, Status.UNMANAGING, Status.DELETED])
def test_snapshot_in_progress_or_deleted_cannot_be_unmanaged(status: Status) -> None:
    with pytest.raises(errors.InvalidState, match=status.value):
        lifecycle.unmanage(managed_snapshot(status=status), REQUESTER, NOW)


def test_unmanaging_announces_a_start_of_its_own() -> None:
    requested = replace(lifecycle.unmanage(managed_snapshot(), REQUESTER, NOW).after, due_at=NOW)

    assert event_type(claim_due_record(requested)) == "snapshot.unmanage.start"


def test_server_of_a_record_is_its_host_without_the_pool() -> None:
    records: list[Record] = [examples.snapshot(), examples.volume()]

    assert {record.location.server for record in records} == {SERVER}
    assert isinstance(records[1], Volume)
