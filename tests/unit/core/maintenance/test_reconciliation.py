"""The comparison of records with a backend, while no operation is in progress."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from snapmanage.core.backend import BackendObject, BackendSnapshot, Binding
from snapmanage.core.maintenance import reconciliation
from snapmanage.core.maintenance.reconciliation import Difference, Kind, settled
from snapmanage.core.records import Operation, Snapshot, Status
from tests import examples

IDENTITY = "uuid-1"


def managed_snapshot(**fields: object) -> Snapshot:
    known = {"status": Status.AVAILABLE, "backend_id": IDENTITY, "backend_name": "snapshot-1", "original_name": "daily"}
    return examples.snapshot(**{"id": examples.new_id()} | known | fields)


def differences(
    snapshots: Sequence[Snapshot], found: Sequence[BackendSnapshot], *located: BackendObject
) -> list[Difference]:
    return reconciliation.differences(snapshots, found, located)


def test_records_that_agree_with_the_backend_are_not_reported() -> None:
    assert differences([managed_snapshot()], [examples.found("snapshot-1", identity=IDENTITY)]) == []


def test_snapshot_is_gone_when_nothing_has_its_name_or_its_identity() -> None:
    [difference] = differences([managed_snapshot()], [examples.found("another", identity="another")])

    assert (difference.kind, difference.binding) == (Kind.VANISHED, None)


@pytest.mark.parametrize("listed", [True, False])
def test_snapshot_is_replaced_and_not_gone_if_another_object_has_its_name(listed: bool) -> None:
    found = [examples.found("snapshot-1", identity="another")] if listed else []
    located = [] if listed else [BackendObject("snapshot-1", "another")]

    [difference] = differences([managed_snapshot()], found, *located)

    assert (difference.kind, difference.binding) == (Kind.REPLACED, None)


def test_existing_snapshot_that_is_not_listed_agrees_with_its_record() -> None:
    assert differences([managed_snapshot()], [], BackendObject("snapshot-1", IDENTITY)) == []


def test_object_with_an_unreadable_identity_agrees_with_its_record() -> None:
    assert differences([managed_snapshot()], [], BackendObject("snapshot-1", "")) == []


def test_renamed_object_with_several_names_is_reported_and_cannot_be_fixed() -> None:
    listed = [examples.found(name, identity=IDENTITY) for name in ("one", "other")]

    [difference] = differences([managed_snapshot()], listed)

    assert (difference.kind, difference.binding) == (Kind.RENAMED, None)


def test_object_with_several_names_agrees_with_its_record_if_one_is_its_managed_name() -> None:
    listed = examples.found("second-name", identity=IDENTITY)

    assert differences([managed_snapshot()], [listed], BackendObject("snapshot-1", IDENTITY)) == []


def test_renamed_object_that_is_not_listed_is_reported_and_cannot_be_fixed() -> None:
    [difference] = differences([managed_snapshot()], [], BackendObject("mine", IDENTITY))

    assert (difference.kind, difference.binding) == (Kind.RENAMED, None)


def test_new_name_of_an_object_that_managing_does_not_rename_is_no_difference() -> None:
    inside_of_an_image = managed_snapshot(backend_name="vm.qcow2/1", original_name="vm.qcow2/1")

    assert differences([inside_of_an_image], [examples.found("base.qcow2/1", identity=IDENTITY)]) == []


@pytest.mark.parametrize(("before", "now"), [("old@{}", "new@{}"), ("old/{}", "new/deep/{}")])
def test_new_name_of_a_snapshot_s_volume_or_folder_is_no_difference(before: str, now: str) -> None:
    snapshot_id = examples.new_id()
    own = f"snapshot-{snapshot_id}"
    moved = managed_snapshot(id=snapshot_id, backend_name=before.format(own), original_name=before.format("daily"))

    assert differences([moved], [examples.found(now.format(own), identity=IDENTITY)]) == []


def test_snapshot_that_left_the_backend_is_reported_although_its_own_name_is_the_same() -> None:
    snapshot_id = examples.new_id()
    left = managed_snapshot(id=snapshot_id, backend_name=f"tank/a@{snapshot_id}", original_name="tank/a@daily")

    [difference] = differences([left], [], BackendObject(f"other/a@{snapshot_id}", IDENTITY))

    assert (difference.kind, difference.binding) == (Kind.RENAMED, None)


def test_only_owned_snapshots_that_a_listing_does_not_show_under_their_names_are_located() -> None:
    listed, renamed, absent = (
        managed_snapshot(backend_id="a"),
        managed_snapshot(backend_id="b"),
        managed_snapshot(backend_id="c"),
    )
    unmanaged = managed_snapshot(status=Status.DELETED, backend_id="d")
    found = [examples.found("snapshot-1", identity="a"), examples.found("mine", identity="b")]

    assert reconciliation.unlisted([listed, renamed, absent, unmanaged], found) == [renamed, absent]


def test_object_with_another_name_is_reported_as_renamed_and_can_be_fixed() -> None:
    [difference] = differences([managed_snapshot()], [examples.found("mine", identity=IDENTITY)])

    assert (difference.kind, difference.binding) == (Kind.RENAMED, Binding(IDENTITY, "mine", "snapshot-1"))


def test_object_of_two_records_is_reported_as_managed_twice() -> None:
    first, second = managed_snapshot(), managed_snapshot()

    [difference] = differences([first, second], [examples.found("snapshot-1", identity=IDENTITY)])

    assert (difference.kind, difference.snapshot) == (Kind.TWICE, second)
    assert first.id in difference.text


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], [Kind.VANISHED]),
        ([examples.found("mine", identity=IDENTITY)], [Kind.RENAMED]),
        ([examples.found("snapshot-1", identity=IDENTITY)], []),
    ],
    ids=["gone", "renamed", "as it was"],
)
def test_snapshot_whose_unmanage_failed_is_reported_and_cannot_be_fixed(
    found: list[BackendSnapshot], expected: list[Kind]
) -> None:
    failed = managed_snapshot(status=Status.ERROR, operation=Operation.UNMANAGE)

    seen = differences([failed], found)

    assert [each.kind for each in seen] == expected
    assert [each.binding for each in seen if each.binding] == []


@pytest.mark.parametrize("status", [Status.ERROR, Status.DELETED])
def test_object_with_the_managed_name_of_a_record_that_does_not_manage_it_is_unowned(status: Status) -> None:
    [difference] = differences([managed_snapshot(status=status)], [examples.found("snapshot-1", identity=IDENTITY)])

    assert difference.kind is Kind.UNOWNED


def test_object_that_another_record_manages_by_now_is_owned() -> None:
    unmanaged = managed_snapshot(status=Status.DELETED)

    assert differences([unmanaged, managed_snapshot()], [examples.found("snapshot-1", identity=IDENTITY)]) == []


def test_unmanaged_object_with_its_original_name_is_not_reported() -> None:
    assert differences([managed_snapshot(status=Status.DELETED)], [examples.found("daily", identity=IDENTITY)]) == []


def test_only_unchanged_snapshots_can_be_compared() -> None:
    still, moved, new = managed_snapshot(), managed_snapshot(), managed_snapshot()
    in_progress = managed_snapshot(status=Status.UNMANAGING)

    after = [still, replace(moved, generation=moved.generation + 1), new, in_progress]

    assert settled([still, moved, in_progress], after) == [still]


def test_size_that_was_unknown_when_the_snapshot_was_managed_is_reported() -> None:
    found = [examples.found("snapshot-1", identity=IDENTITY)]

    [difference] = differences([managed_snapshot(size_gb=0)], found)

    assert (difference.kind, difference.size_gb) == (Kind.UNSIZED, 3)
    assert differences([managed_snapshot(size_gb=3)], found) == []
    assert differences([managed_snapshot(size_gb=0)], [replace(found[0], size_bytes=0)]) == []
