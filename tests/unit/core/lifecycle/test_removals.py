"""Records that are unmanaged at once, and volumes that live again."""

from dataclasses import replace
from datetime import timedelta

import pytest

from snapmanage import errors
from snapmanage.core import lifecycle, removals
from snapmanage.core.records import Operation, Requester, Status, Volume, identity_key
from tests import examples
from tests.examples import LEASE, NOW, PROJECT, RETRY
from tests.unit.core.lifecycle.snapshots import LATER, requested_snapshot

CAROL = Requester("another project", "carol", "req-9")


def requested_volume(**fields: object) -> Volume:
    return replace(lifecycle.request(examples.volume()), **fields)  # type: ignore[arg-type]


def claimed_volume() -> Volume:
    change = lifecycle.claim(requested_volume(due_at=NOW), "worker 1", NOW, LEASE, RETRY)
    assert change
    return change.after


@pytest.mark.parametrize(
    "volume",
    [requested_volume(), claimed_volume(), requested_volume(status=Status.ERROR), examples.available_volume()],
    ids=["creating", "claimed", "error", "available"],
)
def test_volume_of_any_status_becomes_a_tombstone_that_owns_nothing(volume: Volume) -> None:
    removed = removals.unmanage_volume(volume, CAROL, LATER).after

    assert (removed.status, removed.deleted_at, removed.due_at) == (Status.DELETED, LATER, None)
    assert removed.reference_key is removed.identity_key is removed.reason is None
    assert (removed.requester.user_id, removed.requester.project_id) == ("carol", PROJECT)


def test_worker_that_looks_up_an_unmanaged_volume_has_lost_its_claim() -> None:
    volume = claimed_volume()

    assert removals.unmanage_volume(volume, CAROL, NOW).after.fence != volume.fence


def test_cast_of_an_unmanaged_volume_has_no_effect() -> None:
    removed = removals.unmanage_volume(requested_volume(), CAROL, NOW).after

    assert lifecycle.accept(removed, Operation.MANAGE, LATER) is None
    assert lifecycle.claim(removed, "worker", LATER + timedelta(days=1), LEASE, RETRY) is None


@pytest.mark.parametrize(
    ("snapshots", "named", "expected"),
    [
        (1, ["a"], "has 1 snapshot (a); "),
        (3, ["a", "b", "c"], "has 3 snapshots (a, b, c); "),
        (12, ["a", "b", "c"], "has 12 snapshots (a, b, c, …); "),
        (2, [], "has 2 snapshots; "),
    ],
)
def test_refusal_names_the_number_and_some_ids_of_the_snapshots(
    snapshots: int, named: list[str], expected: str
) -> None:
    with pytest.raises(errors.InvalidState, match="unmanage its snapshots first") as refused:
        removals.refuse_parent("v", snapshots, named)

    assert expected in str(refused.value)


def test_volume_without_snapshots_is_not_refused() -> None:
    removals.refuse_parent("v", 0, [])


def test_volume_lives_again_as_its_sender_describes_it() -> None:
    known = examples.available_volume("old", generation=2, claim_number=1, backend_id="identity of old")
    described = examples.available_volume("new", size_gb=7)

    revived = removals.revive_volume(removals.unmanage_volume(known, CAROL, NOW).after, described, set(), LATER).after

    assert (revived.status, revived.deleted_at, revived.backend_name) == (Status.AVAILABLE, None, "new")
    assert (revived.size_gb, revived.generation, revived.claim_number) == (7, 2, 1)
    assert revived.backend_id is revived.identity_key is None


@pytest.mark.parametrize("key", ["reference_key", "identity_key"])
def test_volume_that_no_sender_describes_lives_again_as_before_unless_its_object_is_owned(key: str) -> None:
    known = lifecycle.request(examples.available_volume(backend_id="identity of disk"))
    known = replace(known, identity_key=identity_key(known))
    removed = removals.unmanage_volume(known, CAROL, NOW).after

    again = removals.revive_volume(removed, None, set(), LATER).after
    beside = removals.revive_volume(removed, None, {getattr(known, key)}, LATER).after

    assert removals.keys_of(removed) == {known.reference_key, known.identity_key}
    for revived in (again, beside):
        assert (revived.status, revived.deleted_at, revived.backend_name) == (Status.AVAILABLE, None, "disk")
    assert (again.reference_key, again.identity_key) == (known.reference_key, known.identity_key)
    assert beside.backend_id is beside.identity_key is beside.reference_key is None


def test_volume_that_was_never_found_lives_again_in_error() -> None:
    removed = removals.unmanage_volume(requested_volume(), CAROL, NOW).after

    revived = removals.revive_volume(removed, None, set(), LATER).after

    assert (revived.status, revived.deleted_at, revived.reason_code) == (Status.ERROR, None, "invalid_state")
    assert revived.reason


def test_snapshot_without_an_object_is_unmanaged_with_the_events_of_a_worker() -> None:
    failed = requested_snapshot(status=Status.ERROR, generation=2, claim_number=4, reference_key=None)

    start, end = removals.unmanage_unbound(lifecycle.unmanage(failed, CAROL, LATER), LATER)

    assert start.before == failed
    assert end.before == start.after
    assert start.event
    assert end.event
    assert [start.event.event_type, end.event.event_type] == ["snapshot.unmanage.start", "snapshot.unmanage.end"]
    assert [each.payload["generation"] for each in (start.event, end.event)] == [3, 4]
    assert start.event.payload["status"] == "unmanaging"
    assert (end.after.status, end.after.attempt, end.after.claim_number) == (Status.DELETED, 1, 5)
