"""Resolving and settling: success, failure and retries."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapmanage import errors
from snapmanage.core import lifecycle
from snapmanage.core.records import Status, owner_key
from snapmanage.core.values.retry import Retry
from tests import examples
from tests.examples import NOW, RETRY, SERVER
from tests.unit.core.lifecycle.snapshots import (
    FINAL,
    LATER,
    PASSING,
    claimed_snapshot,
    event_type,
    resolved_snapshot,
    unmanaging_snapshot,
)


def test_resolved_snapshot_owns_the_object_before_the_rename() -> None:
    change = lifecycle.resolve(claimed_snapshot(), examples.found(), "snapshot-2", LATER)

    assert change.after == claimed_snapshot(
        backend_id="identity of daily",
        original_name="daily",
        backend_name="snapshot-2",
        backend_created_at=NOW,
        size_gb=3,
        identity_key=owner_key(SERVER, "identity of daily"),
        due_at=LATER,
    )
    assert change.event is None


def test_snapshot_has_a_binding_once_it_is_resolved() -> None:
    assert claimed_snapshot().binding is None
    binding = resolved_snapshot().binding
    assert binding is not None
    assert (binding.identity, binding.original_name, binding.managed_name) == (
        "identity of daily",
        "daily",
        "snapshot-2",
    )


def test_managed_snapshot_is_available_and_keeps_its_keys() -> None:
    before = resolved_snapshot(reason="busy", reason_code="backend_busy")

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
        step_at=LATER,
    )
    assert event_type(change) == "snapshot.manage.end"
    assert change.message is None


def test_unmanaged_snapshot_leaves_a_tombstone_without_keys() -> None:
    before = unmanaging_snapshot()

    change = lifecycle.succeed(before, None, LATER)

    assert change.after.status is Status.DELETED
    assert change.after.deleted_at == LATER
    assert change.after.generation == before.generation + 1
    assert (change.after.reference_key, change.after.identity_key, change.after.due_at) == (None, None, None)
    assert event_type(change) == "snapshot.unmanage.end"


def test_temporary_failure_is_retried_after_a_delay() -> None:
    change = lifecycle.fail(resolved_snapshot(), PASSING, LATER, RETRY)

    assert change.after == resolved_snapshot(
        due_at=LATER + timedelta(seconds=1),
        claimed_by=None,
        reason="the volume group is locked",
        reason_code="backend_busy",
        updated_at=LATER,
        step_at=LATER,
    )
    assert (change.event, change.message) == (None, None)


@pytest.mark.parametrize(("error", "attempt"), [(FINAL, 1), (PASSING, 3), (FINAL, 3)])
def test_permanent_failure_ends_in_error_and_frees_the_object(error: errors.SnapmanageError, attempt: int) -> None:
    change = lifecycle.fail(resolved_snapshot(attempt=attempt), error, LATER, RETRY)

    assert change.after == resolved_snapshot(
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
        step_at=LATER,
    )
    assert event_type(change) == "snapshot.manage.error"
    assert change.message is not None


def test_snapshot_whose_unmanage_failed_still_owns_its_object() -> None:
    before = unmanaging_snapshot()

    change = lifecycle.fail(before, FINAL, LATER, RETRY)

    assert change.after.status is Status.ERROR
    assert (change.after.reference_key, change.after.identity_key) == (before.reference_key, before.identity_key)
    assert event_type(change) == "snapshot.unmanage.error"


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (8, 60), (1000, 60)])
def test_delay_doubles_up_to_the_maximum(attempt: int, seconds: int) -> None:
    assert RETRY.delay(attempt) == timedelta(seconds=seconds)


@given(
    attempt=st.integers(1, 10**6),
    first=st.timedeltas(timedelta(milliseconds=10), timedelta(hours=1)),
    longest=st.timedeltas(timedelta(milliseconds=10), timedelta(days=1)),
)
def test_delay_never_decreases_and_never_exceeds_the_maximum(
    attempt: int, first: timedelta, longest: timedelta
) -> None:
    retry = Retry(10**6, first, longest)

    assert timedelta(0) < retry.delay(attempt) <= retry.delay(attempt + 1) <= longest


def test_registered_volume_owns_its_object_and_announces_nothing() -> None:
    requested = lifecycle.request(examples.volume())

    change = lifecycle.succeed(requested, examples.found_volume(created_at=NOW), NOW)

    assert change.after == replace(
        requested,
        status=Status.AVAILABLE,
        generation=1,
        size_gb=3,
        backend_id="identity of disk",
        backend_name="disk",
        original_name="disk",
        backend_created_at=NOW,
        identity_key=owner_key(SERVER, "identity of disk"),
        updated_at=NOW,
        step_at=NOW,
    )
    assert change.event is None


def test_failed_volume_leaves_a_message_and_no_event() -> None:
    requested = lifecycle.request(examples.volume())

    change = lifecycle.fail(requested, FINAL, NOW, RETRY)

    assert change.event is None
    assert change.message is not None
    assert change.message.event_id == "VOLUME_MANAGE_SOURCE_NOT_FOUND"


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
def test_reason_can_be_stored_in_every_database(kind: type[errors.SnapmanageError], text: str, kept: str) -> None:
    assert lifecycle.fail(claimed_snapshot(), kind(text), NOW, RETRY).after.reason == kept
