"""What every driver owes, shown on its real backend.

`fake` and `file` run everywhere. `lvm` runs on metadata here, where no snapshot can be opened, and
again in a guest with a kernel of its own (`tests/integration/test_lvm_kernel`), where nothing is left out.
"""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC
from pathlib import Path
from typing import cast

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding, Unsafe
from snapmanage.core.reference import Reference
from tests.contract.labs import FakeLab, FileLab, HoldingLab, Lab, in_guest, lvm_lab

LVM = ["lvm-thick", "lvm-thin"]
LABS = LVM if in_guest() else ["fake", "file", *LVM]
HOLDING_LABS = LVM if in_guest() else ["fake", "file"]


@pytest.fixture(params=LABS)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    with ExitStack() as stack:
        match request.param:
            case "fake":
                yield FakeLab()
            case "file":
                yield FileLab(tmp_path)
            case lvm:
                yield lvm_lab(lvm, tmp_path, stack)


@pytest.fixture
def holding_lab(lab: Lab) -> HoldingLab:
    return cast(HoldingLab, lab)


only_where_it_can_be_held = pytest.mark.parametrize("lab", HOLDING_LABS, indirect=True)


def found(lab: Lab, word: str = "daily") -> BackendSnapshot:
    """A new snapshot, as the driver sees it."""
    name = lab.name_of(word)
    lab.add_snapshot(name)
    return lab.driver.find_snapshot(Reference.named(name))


def bound(lab: Lab, snapshot: BackendSnapshot) -> Binding:
    """The binding of the snapshot to a record."""
    managed_name = lab.driver.managed_name(snapshot, f"snapshot-{uuid.uuid4()}")
    return Binding(snapshot.identity, snapshot.name, managed_name)


def by_name(snapshot: BackendSnapshot) -> str:
    return snapshot.name


@contextmanager
def refused(kind: type[errors.SnapmanageError], code: str) -> Iterator[None]:
    with pytest.raises(kind) as caught:
        yield
    assert caught.value.code == code
    assert str(caught.value)


# Looking.


def test_backend_that_is_well_passes_the_check(lab: Lab) -> None:
    lab.driver.check()


def test_listing_tells_every_snapshot_and_nothing_else(lab: Lab) -> None:
    daily, weekly = found(lab, "daily"), found(lab, "weekly")

    listed = lab.driver.list_snapshots()

    assert sorted(listed, key=by_name) == [daily, weekly]


def test_snapshot_is_described_with_its_volume_size_and_birth(lab: Lab) -> None:
    volume = lab.driver.find_volume(Reference.named(lab.volume))

    snapshot = found(lab)

    assert (snapshot.parent, snapshot.parent_identity) == (lab.volume, volume.identity)
    assert snapshot.size_bytes == volume.size_bytes == lab.size_bytes
    assert snapshot.created_at is not None
    assert snapshot.created_at.tzinfo is UTC
    assert snapshot.unsafe is None


def test_identities_differ(lab: Lab) -> None:
    volume = lab.driver.find_volume(Reference.named(lab.volume))

    identities = {volume.identity, found(lab, "daily").identity, found(lab, "weekly").identity}

    assert len(identities) == 3


def test_odd_but_legal_names_are_managed_and_given_back(lab: Lab) -> None:
    snapshots = [found(lab, word) for word in ("_", "a.b+c-d_e", "UPPER", "0")]

    for binding in [bound(lab, snapshot) for snapshot in snapshots]:
        lab.driver.manage_snapshot(binding)
        lab.driver.unmanage_snapshot(binding)

    assert sorted(lab.driver.list_snapshots(), key=by_name) == sorted(snapshots, key=by_name)


def test_name_that_nothing_bears_is_not_found(lab: Lab) -> None:
    absent = Reference.named(lab.name_of("absent"))

    with refused(errors.SourceNotFound, "source_not_found"):
        lab.driver.find_snapshot(absent)


def test_volume_that_is_not_there_is_not_found(lab: Lab) -> None:
    with refused(errors.SourceNotFound, "source_not_found"):
        lab.driver.find_volume(Reference.named("absent"))


def test_reference_with_another_key_is_refused(lab: Lab) -> None:
    with refused(errors.InvalidReference, "invalid_reference"):
        lab.driver.find_snapshot(Reference.of({"source-id": lab.volume}))
    with refused(errors.InvalidReference, "invalid_reference"):
        lab.driver.find_volume(Reference.of({"source-name": lab.volume, "more": "keys"}))


def test_name_that_the_backend_cannot_have_is_refused(lab: Lab) -> None:
    for name in lab.impossible_names:
        with refused(errors.InvalidReference, "invalid_reference"):
            lab.driver.find_snapshot(Reference.named(name))
        with refused(errors.InvalidReference, "invalid_reference"):
            lab.driver.find_volume(Reference.named(name))


def test_volume_is_no_snapshot(lab: Lab) -> None:
    with refused(errors.NotASnapshot, "not_a_snapshot"):
        lab.driver.find_snapshot(Reference.named(lab.volume))


def test_snapshot_is_no_volume(lab: Lab) -> None:
    snapshot = found(lab)

    with refused(errors.NotAVolume, "not_a_volume"):
        lab.driver.find_volume(Reference.named(snapshot.name))


def test_backend_that_is_away_is_an_error_that_may_pass_and_no_empty_listing(lab: Lab) -> None:
    binding = bound(lab, found(lab))
    lab.go_away()

    with refused(errors.BackendUnavailable, "backend_unavailable"):
        lab.driver.list_snapshots()
    with refused(errors.BackendUnavailable, "backend_unavailable"):
        lab.driver.find_snapshot(Reference.named(binding.original_name))
    with refused(errors.BackendUnavailable, "backend_unavailable"):
        lab.driver.manage_snapshot(binding)
    with refused(errors.BackendUnavailable, "backend_unavailable"):
        lab.driver.unmanage_snapshot(binding)
    with refused(errors.BackendUnavailable, "backend_unavailable"):
        lab.driver.check()


# Managing.


def test_managing_renames_and_keeps_the_identity(lab: Lab) -> None:
    snapshot = found(lab)
    binding = bound(lab, snapshot)

    managed = lab.driver.manage_snapshot(binding)

    assert managed.name == binding.managed_name != snapshot.name
    assert (managed.identity, managed.size_bytes) == (snapshot.identity, snapshot.size_bytes)
    assert managed == lab.driver.find_snapshot(Reference.named(managed.name))
    assert lab.names() == {managed.name}


def test_managed_name_is_one_records_own(lab: Lab) -> None:
    snapshot = found(lab)

    names = {lab.driver.managed_name(snapshot, f"snapshot-{number}") for number in range(3)}

    assert len(names) == 3


def test_managing_again_after_a_worker_died_finds_the_finished_state(lab: Lab) -> None:
    binding = bound(lab, found(lab))
    first = lab.driver.manage_snapshot(binding)

    second = lab.driver.manage_snapshot(binding)

    assert second == first
    assert lab.names() == {binding.managed_name}


def test_two_workers_at_once_both_see_one_rename(lab: Lab) -> None:
    binding = bound(lab, found(lab))

    with ThreadPoolExecutor(2) as workers:
        described = list(workers.map(lab.driver.manage_snapshot, [binding, binding]))

    assert described[0] == described[1]
    assert lab.names() == {binding.managed_name}


def test_several_workers_manage_their_own_snapshots_at_once(lab: Lab) -> None:
    bindings = [bound(lab, found(lab, f"daily-{number}")) for number in range(4)]

    with ThreadPoolExecutor(4) as workers:
        described = list(workers.map(lab.driver.manage_snapshot, bindings))

    assert [snapshot.identity for snapshot in described] == [binding.identity for binding in bindings]
    assert lab.names() == {binding.managed_name for binding in bindings}


def test_managing_without_a_new_name_renames_nothing(lab: Lab) -> None:
    snapshot = found(lab)
    binding = Binding(snapshot.identity, snapshot.name, snapshot.name)

    assert lab.driver.manage_snapshot(binding) == snapshot
    lab.driver.unmanage_snapshot(binding)

    assert lab.names() == {snapshot.name}


def test_managing_never_replaces_another_object(lab: Lab) -> None:
    snapshot = found(lab)
    other = found(lab, "other")

    with refused(errors.NameTaken, "name_taken"):
        lab.driver.manage_snapshot(Binding(snapshot.identity, snapshot.name, other.name))

    assert {snapshot.identity, other.identity} == {listed.identity for listed in lab.driver.list_snapshots()}


def test_another_object_under_the_old_name_is_left_alone(lab: Lab) -> None:
    binding = bound(lab, found(lab))
    lab.remove(binding.original_name)
    lab.add_snapshot(binding.original_name)

    with refused(errors.SourceNotFound, "source_not_found"):
        lab.driver.manage_snapshot(binding)

    assert lab.names() == {binding.original_name}


def test_managing_what_is_gone_says_so(lab: Lab) -> None:
    binding = bound(lab, found(lab))
    lab.remove(binding.original_name)

    with refused(errors.SourceNotFound, "source_not_found"):
        lab.driver.manage_snapshot(binding)


@only_where_it_can_be_held
def test_snapshot_in_use_is_listed_as_unsafe(holding_lab: HoldingLab) -> None:
    snapshot = found(holding_lab)

    with holding_lab.held(snapshot.name):
        [seen] = holding_lab.driver.list_snapshots()

    assert (seen.unsafe, snapshot.unsafe) == (Unsafe.IN_USE, None)
    assert seen.unsafe_reason


@only_where_it_can_be_held
def test_snapshot_in_use_is_not_renamed_until_it_is_closed(holding_lab: HoldingLab) -> None:
    snapshot = found(holding_lab)
    binding = bound(holding_lab, snapshot)

    with holding_lab.held(snapshot.name), refused(errors.InUse, "in_use"):
        holding_lab.driver.manage_snapshot(binding)
    assert holding_lab.names() == {snapshot.name}

    assert holding_lab.driver.manage_snapshot(binding).name == binding.managed_name


@only_where_it_can_be_held
def test_finished_state_counts_though_the_snapshot_is_in_use_by_now(holding_lab: HoldingLab) -> None:
    binding = bound(holding_lab, found(holding_lab))
    holding_lab.driver.manage_snapshot(binding)

    with holding_lab.held(binding.managed_name):
        managed = holding_lab.driver.manage_snapshot(binding)

    assert managed.name == binding.managed_name


# Giving back.


def test_unmanaging_gives_the_old_name_back_and_repeating_it_changes_nothing(lab: Lab) -> None:
    snapshot = found(lab)
    binding = bound(lab, snapshot)
    lab.driver.manage_snapshot(binding)

    lab.driver.unmanage_snapshot(binding)
    lab.driver.unmanage_snapshot(binding)

    assert lab.driver.list_snapshots() == [snapshot]


def test_unmanaging_what_is_gone_is_done(lab: Lab) -> None:
    binding = bound(lab, found(lab))
    lab.driver.manage_snapshot(binding)
    lab.remove(binding.managed_name)

    lab.driver.unmanage_snapshot(binding)

    assert lab.names() == set()


def test_unmanaging_leaves_a_third_name_alone(lab: Lab) -> None:
    snapshot = found(lab)
    binding = bound(lab, snapshot)
    third = lab.name_of("third")
    lab.driver.manage_snapshot(Binding(snapshot.identity, snapshot.name, third))

    lab.driver.unmanage_snapshot(binding)

    assert lab.names() == {third}


def test_unmanaging_never_replaces_what_took_the_old_name(lab: Lab) -> None:
    binding = bound(lab, found(lab))
    lab.driver.manage_snapshot(binding)
    lab.add_snapshot(binding.original_name)

    with refused(errors.NameTaken, "name_taken"):
        lab.driver.unmanage_snapshot(binding)

    assert lab.names() == {binding.original_name, binding.managed_name}


@only_where_it_can_be_held
def test_snapshot_in_use_is_not_given_back_until_it_is_closed(holding_lab: HoldingLab) -> None:
    binding = bound(holding_lab, found(holding_lab))
    holding_lab.driver.manage_snapshot(binding)

    with holding_lab.held(binding.managed_name), refused(errors.InUse, "in_use"):
        holding_lab.driver.unmanage_snapshot(binding)

    assert holding_lab.names() == {binding.managed_name}
