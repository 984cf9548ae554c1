"""The moves of a record from one status to the next, and their events."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapmanage import errors
from snapmanage.core import lifecycle
from snapmanage.core.change import Change
from snapmanage.core.records import Operation, Record, Requester, Snapshot, Status, Volume, owner_key, reference_key
from snapmanage.core.values.location import Location
from snapmanage.core.values.retry import Retry
from tests import examples
from tests.examples import ASKED, LEASE, NOW, RETRY, SERVER

LATER = NOW + timedelta(seconds=1)
PASSING = errors.BackendBusy("the volume group is locked")
FINAL = errors.SourceNotFound("there is no 'daily'")


def requested(**fields: Any) -> Snapshot:
    return replace(lifecycle.request(examples.snapshot()), **fields)


def accepted(**fields: Any) -> Snapshot:
    return requested(**{"due_at": NOW} | fields)


def claimed(**fields: Any) -> Snapshot:
    """A snapshot in a worker's hands, for the first time."""
    return replace(taken(accepted()).after, **fields)


def resolved(**fields: Any) -> Snapshot:
    return replace(lifecycle.resolve(claimed(), examples.found(), "snapshot-2", NOW + LEASE).after, **fields)


def managed(**fields: Any) -> Snapshot:
    return replace(lifecycle.succeed(resolved(), examples.found("snapshot-2"), NOW).after, **fields)


def being_unmanaged(**fields: Any) -> Snapshot:
    """A snapshot that a worker is about to unmanage."""
    asked = lifecycle.unmanage(managed(), ASKED, NOW).after
    return replace(taken(replace(asked, due_at=NOW)).after, **fields)


def taken(record: Snapshot, now: datetime = NOW) -> Change[Snapshot]:
    change = lifecycle.claim(record, "worker 1", now, LEASE, RETRY)
    assert change is not None
    return change


def event_type(change: Change[Any]) -> str | None:
    return change.event.event_type if change.event else None


def test_request_owns_its_reference_on_its_server() -> None:
    asked = examples.snapshot()

    assert lifecycle.request(asked).reference_key == reference_key(SERVER, asked.reference, asked.volume_id)
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

    assert same_object.reference_key == requested().reference_key
    assert lifecycle.request(examples.snapshot(**other)).reference_key != requested().reference_key


def test_owner_key_always_has_the_same_length() -> None:
    assert {len(owner_key(SERVER, text)) for text in ("", "a", "\U0010ffff" * 5000)} == {64}


def test_accepted_request_is_due_at_once() -> None:
    change = lifecycle.accept(requested(), Operation.MANAGE, LATER)

    assert change == Change(requested(), requested(due_at=LATER))


@pytest.mark.parametrize(
    ("record", "operation"),
    [
        (accepted(), Operation.MANAGE),
        (claimed(), Operation.MANAGE),
        (managed(), Operation.MANAGE),
        (requested(status=Status.ERROR), Operation.MANAGE),
        (lifecycle.unmanage(managed(), ASKED, NOW).after, Operation.MANAGE),
        (being_unmanaged(), Operation.UNMANAGE),
        (lifecycle.succeed(being_unmanaged(), None, NOW).after, Operation.MANAGE),
        (lifecycle.succeed(being_unmanaged(), None, NOW).after, Operation.UNMANAGE),
    ],
)
def test_repeated_or_late_request_changes_nothing(record: Snapshot, operation: Operation) -> None:
    assert lifecycle.accept(record, operation, LATER) is None


@pytest.mark.parametrize("status", [Status.AVAILABLE, Status.ERROR])
def test_sender_with_records_of_its_own_unmanages_a_settled_snapshot(status: Status) -> None:
    before = managed(status=status)
    asking = Requester(ASKED.project_id, "carol", "req-9")

    change = lifecycle.accept(before, Operation.UNMANAGE, LATER, asking)

    assert change is not None
    assert change.after == replace(lifecycle.unmanage(before, asking, LATER).after, due_at=LATER)


@pytest.mark.parametrize("record", [requested(), accepted(), claimed()])
def test_snapshot_that_is_being_managed_can_not_be_unmanaged(record: Snapshot) -> None:
    with pytest.raises(errors.InvalidState, match="it can be unmanaged when"):
        lifecycle.accept(record, Operation.UNMANAGE, LATER)


ANOTHER_ASKS = Requester(ASKED.project_id, "carol", "req-9")


@pytest.mark.parametrize(
    ("requester", "behind"),
    [(None, None), (ASKED, None), (Requester(ASKED.project_id), None), (ANOTHER_ASKS, 1), (ANOTHER_ASKS, -1)],
    ids=["nobody known", "the same request", "no request id", "an older generation", "a generation to come"],
)
def test_repeat_of_a_failed_unmanage_starts_no_operation(requester: Requester | None, behind: int | None) -> None:
    failed = lifecycle.fail(being_unmanaged(), FINAL, NOW, RETRY).after
    generation = None if behind is None else failed.generation - behind

    assert lifecycle.accept(failed, Operation.UNMANAGE, LATER, requester, generation=generation) is None


@pytest.mark.parametrize(("requester", "told"), [(ANOTHER_ASKS, False), (ASKED, True), (None, True)])
def test_failed_unmanage_may_be_requested_again(requester: Requester | None, told: bool) -> None:
    failed = lifecycle.fail(being_unmanaged(), FINAL, NOW, RETRY).after
    generation = failed.generation if told else None

    change = lifecycle.accept(failed, Operation.UNMANAGE, LATER, requester, generation=generation)

    assert change is not None
    assert change.after == replace(lifecycle.unmanage(failed, requester or ASKED, LATER).after, due_at=LATER)


@pytest.mark.parametrize("generation", [None, 1])
def test_cast_of_a_requested_unmanage_is_accepted_with_any_generation(generation: int | None) -> None:
    asked = lifecycle.unmanage(managed(), ASKED, NOW).after

    change = lifecycle.accept(asked, Operation.UNMANAGE, LATER, generation=generation)

    assert change == Change(asked, replace(asked, due_at=LATER))


def test_first_claim_takes_a_lease_and_announces_the_start() -> None:
    change = taken(accepted())

    assert change.after == accepted(
        generation=1,
        claim_number=1,
        attempt=1,
        claimed_by="worker 1",
        due_at=NOW + LEASE,
        started_at=NOW,
        updated_at=NOW,
    )
    assert event_type(change) == "snapshot.manage.start"


@pytest.mark.parametrize(
    "record",
    [
        requested(),
        accepted(due_at=LATER),
        claimed(),
        managed(),
        managed(due_at=NOW),
        requested(status=Status.ERROR, due_at=NOW),
    ],
    ids=["not accepted", "resting", "leased", "settled", "settled and due", "in error"],
)
def test_record_that_is_not_due_can_not_be_claimed(record: Snapshot) -> None:
    assert lifecycle.claim(record, "worker 2", NOW, LEASE, RETRY) is None


def test_lease_holds_until_its_last_moment() -> None:
    microsecond = timedelta(microseconds=1)

    assert lifecycle.claim(claimed(), "worker 2", NOW + LEASE - microsecond, LEASE, RETRY) is None
    assert lifecycle.claim(claimed(), "worker 2", NOW + LEASE, LEASE, RETRY) is not None


def test_second_claim_announces_no_start() -> None:
    change = taken(claimed(claimed_by="dead worker"), NOW + LEASE)

    assert change.event is None
    assert change.after.started_at == NOW
    assert (change.after.claimed_by, change.after.claim_number, change.after.attempt) == ("worker 1", 2, 2)
    assert change.after.generation == 1


def test_operation_whose_workers_all_died_fails_with_the_last_reason() -> None:
    change = taken(claimed(attempt=3, reason="the array rebooted", reason_code="backend_unavailable"), NOW + LEASE)

    assert event_type(change) == "snapshot.manage.error"
    assert change.after.status is Status.ERROR
    assert change.after.reason_code == "attempts_exhausted"
    assert "3 attempts" in (change.after.reason or "")
    assert "the array rebooted" in (change.after.reason or "")
    assert (change.after.due_at, change.after.claimed_by, change.after.reference_key) == (None, None, None)


def test_renewed_lease_runs_from_now_under_the_same_claim_number() -> None:
    change = lifecycle.renew(claimed(), LATER, LEASE)

    assert change.after == claimed(due_at=LATER + LEASE)


def test_resolved_snapshot_owns_the_object_before_it_is_touched() -> None:
    change = lifecycle.resolve(claimed(), examples.found(), "snapshot-2", LATER)

    assert change.after == claimed(
        backend_id="identity of daily",
        original_name="daily",
        backend_name="snapshot-2",
        backend_created_at=NOW,
        size_gb=3,
        identity_key=owner_key(SERVER, "identity of daily"),
        due_at=LATER,
    )
    assert change.event is None


def test_binding_is_known_from_resolving_on() -> None:
    assert claimed().binding is None
    binding = resolved().binding
    assert binding is not None
    assert (binding.identity, binding.original_name, binding.managed_name) == (
        "identity of daily",
        "daily",
        "snapshot-2",
    )


def test_managed_snapshot_is_available_and_keeps_its_keys() -> None:
    before = resolved(reason="busy", reason_code="backend_busy")

    change = lifecycle.succeed(before, examples.found("snapshot-2", size_bytes=1), LATER)

    assert change.after == replace(
        before,
        status=Status.AVAILABLE,
        generation=2,
        due_at=None,
        claimed_by=None,
        reason=None,
        reason_code=None,
        size_gb=1,
        updated_at=LATER,
    )
    assert event_type(change) == "snapshot.manage.end"
    assert change.message is None


def test_unmanaged_snapshot_leaves_a_tombstone_without_keys() -> None:
    before = being_unmanaged()

    change = lifecycle.succeed(before, None, LATER)

    assert change.after.status is Status.DELETED
    assert change.after.deleted_at == LATER
    assert change.after.generation == before.generation + 1
    assert (change.after.reference_key, change.after.identity_key, change.after.due_at) == (None, None, None)
    assert event_type(change) == "snapshot.unmanage.end"


@pytest.mark.parametrize("status", [Status.AVAILABLE, Status.ERROR])
def test_settled_snapshot_can_be_unmanaged(status: Status) -> None:
    before = managed(status=status, attempt=3, reason="it was busy", reason_code="in_use")

    change = lifecycle.unmanage(before, Requester("another project", "carol", "req-9"), LATER)

    assert change.after == replace(
        before,
        requester=Requester(ASKED.project_id, "carol", "req-9"),
        status=Status.UNMANAGING,
        operation=Operation.UNMANAGE,
        attempt=0,
        started_at=None,
        reason=None,
        reason_code=None,
        updated_at=LATER,
    )
    assert change.event is None


@pytest.mark.parametrize("status", [Status.CREATING, Status.UNMANAGING, Status.DELETED])
def test_snapshot_under_way_can_not_be_unmanaged(status: Status) -> None:
    with pytest.raises(errors.InvalidState, match=status.value):
        lifecycle.unmanage(managed(status=status), ASKED, NOW)


def test_unmanaging_announces_a_start_of_its_own() -> None:
    asked = replace(lifecycle.unmanage(managed(), ASKED, NOW).after, due_at=NOW)

    assert event_type(taken(asked)) == "snapshot.unmanage.start"


def test_temporary_failure_is_retried_after_a_delay() -> None:
    change = lifecycle.fail(resolved(), PASSING, LATER, RETRY)

    assert change.after == resolved(
        due_at=LATER + timedelta(seconds=1),
        claimed_by=None,
        reason="the volume group is locked",
        reason_code="backend_busy",
        updated_at=LATER,
    )
    assert (change.event, change.message) == (None, None)


@pytest.mark.parametrize(("error", "attempt"), [(FINAL, 1), (PASSING, 3), (FINAL, 3)])
def test_permanent_failure_ends_in_error_and_frees_the_object(error: errors.SnapmanageError, attempt: int) -> None:
    change = lifecycle.fail(resolved(attempt=attempt), error, LATER, RETRY)

    assert change.after == resolved(
        attempt=attempt,
        status=Status.ERROR,
        generation=2,
        due_at=None,
        claimed_by=None,
        reason=str(error),
        reason_code=error.code,
        reference_key=None,
        identity_key=None,
        updated_at=LATER,
    )
    assert event_type(change) == "snapshot.manage.error"
    assert change.message is not None


def test_snapshot_whose_unmanage_failed_still_owns_its_object() -> None:
    before = being_unmanaged()

    change = lifecycle.fail(before, FINAL, LATER, RETRY)

    assert change.after.status is Status.ERROR
    assert (change.after.reference_key, change.after.identity_key) == (before.reference_key, before.identity_key)
    assert event_type(change) == "snapshot.unmanage.error"


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (8, 60), (1000, 60)])
def test_delay_doubles_up_to_the_longest(attempt: int, seconds: int) -> None:
    assert RETRY.delay(attempt) == timedelta(seconds=seconds)


@given(
    attempt=st.integers(1, 10**6),
    first=st.timedeltas(timedelta(milliseconds=10), timedelta(hours=1)),
    longest=st.timedeltas(timedelta(milliseconds=10), timedelta(days=1)),
)
def test_delay_never_shrinks_and_never_exceeds_the_longest(attempt: int, first: timedelta, longest: timedelta) -> None:
    retry = Retry(10**6, first, longest)

    assert timedelta(0) < retry.delay(attempt) <= retry.delay(attempt + 1) <= longest


def test_attempt_of_a_released_claim_does_not_count() -> None:
    change = lifecycle.release(resolved(), LATER)

    assert change.after == resolved(attempt=0, claimed_by=None, due_at=NOW, updated_at=LATER)
    assert event_type(taken(change.after, LATER)) is None


def test_released_operation_is_due_before_later_ones() -> None:
    released = lifecycle.release(resolved(started_at=NOW), LATER).after

    came_later = lifecycle.accept(requested(), Operation.MANAGE, NOW + timedelta(microseconds=1))

    assert came_later is not None
    assert (released.due_at, came_later.after.due_at) == (NOW, NOW + timedelta(microseconds=1))


def test_registered_volume_owns_its_object_and_announces_nothing() -> None:
    asked = lifecycle.request(examples.volume())

    change = lifecycle.succeed(asked, examples.found_volume(), NOW)

    assert change.after == replace(
        asked,
        status=Status.AVAILABLE,
        generation=1,
        size_gb=3,
        backend_id="identity of disk",
        backend_name="disk",
        original_name="disk",
        identity_key=owner_key(SERVER, "identity of disk"),
        updated_at=NOW,
    )
    assert change.event is None


def test_failed_volume_leaves_a_message_and_no_event() -> None:
    asked = lifecycle.request(examples.volume())

    change = lifecycle.fail(asked, FINAL, NOW, RETRY)

    assert change.event is None
    assert change.message is not None
    assert change.message.event_id == "VOLUME_MANAGE_SOURCE_NOT_FOUND"


def moves(record: Snapshot) -> list[Change[Any]]:
    """Every change that may follow."""
    possible: list[Change[Any] | None] = [
        lifecycle.claim(record, "worker 2", NOW + LEASE, LEASE, RETRY),
        lifecycle.succeed(record, examples.found(), NOW),
        lifecycle.fail(record, PASSING, NOW, RETRY),
        lifecycle.fail(record, FINAL, NOW, RETRY),
        lifecycle.release(record, NOW),
    ]
    return [change for change in possible if change]


@pytest.mark.parametrize("record", [claimed(), resolved(), being_unmanaged()])
def test_every_move_out_of_a_claim_changes_the_fence(record: Snapshot) -> None:
    assert record.fence not in [change.after.fence for change in moves(record)]
    assert all(change.before is record for change in moves(record))


@pytest.mark.parametrize("record", [claimed(), resolved(), being_unmanaged()])
def test_every_event_carries_the_generation_of_its_own_record(record: Snapshot) -> None:
    announced = [change for change in moves(record) if change.event]

    assert announced
    for change in announced:
        assert change.event is not None
        assert change.event.payload["generation"] == change.after.generation == record.generation + 1


@pytest.mark.parametrize("record", [claimed(), resolved(), being_unmanaged()])
def test_move_without_an_event_keeps_the_generation(record: Snapshot) -> None:
    silent = [change for change in moves(record) if not change.event]

    assert [change.after.generation for change in silent] == [record.generation] * 3


def test_server_of_a_record_is_its_host_without_the_pool() -> None:
    records: list[Record] = [examples.snapshot(), examples.volume()]

    assert {record.location.server for record in records} == {SERVER}
    assert isinstance(records[1], Volume)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("gone: \N{CAMERA}", "gone: \N{CAMERA}"),
        ("NUL \0 and half a pair \ud83d", "NUL \\x00 and half a pair \\ud83d"),
        ("x" * 2000, "x" * 2000),
        ("x" * 2001, "x" * 2000 + "…"),
    ],
)
@pytest.mark.parametrize("kind", [errors.SourceNotFound, errors.BackendBusy])
def test_reason_is_a_text_that_every_database_keeps(kind: type[errors.SnapmanageError], text: str, kept: str) -> None:
    assert lifecycle.fail(claimed(), kind(text), NOW, RETRY).after.reason == kept
