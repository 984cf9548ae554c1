"""The contract of a driver, tested on its real backend.

`fake` and `file` run on every machine. `lvm` runs here on metadata, where no snapshot can be opened, and again in a
guest with a kernel of its own (`tests/integration/test_lvm_kernel`). The guest skips the tests marked `no_kernel`: they
don't depend on device-mapper, and LVM on metadata uses the same lvm2.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding, Unsafe, refuse_foreign, refuse_unsafe
from snapmanage.core.manageable import Owned, entries
from snapmanage.core.reference import Reference
from snapmanage.drivers import renaming
from snapmanage.drivers.renaming import Renamer
from tests.contract.labs import ACTIVE, BORN, HOLDING, SPOILING, WITH_STORAGE_ID, HoldingLab, Lab, SpoilingLab

only_labs_with_storage_id = pytest.mark.parametrize("lab", WITH_STORAGE_ID, indirect=True)
only_labs_with_creation_time = pytest.mark.parametrize("lab", BORN, indirect=True)
in_guest_only_active_labs = pytest.mark.parametrize("lab", ACTIVE, indirect=True)
only_labs_that_can_hold = pytest.mark.parametrize("lab", HOLDING, indirect=True)
only_labs_that_can_spoil = pytest.mark.parametrize("lab", SPOILING, indirect=True)


def new_snapshot(lab: Lab, word: str = "daily") -> BackendSnapshot:
    """Make a snapshot and return the driver's description of it."""
    name = lab.name_of(word)
    lab.add_snapshot(name)
    return lab.driver.find_snapshot(Reference.named(name))


def binding_of(lab: Lab, snapshot: BackendSnapshot) -> Binding:
    """Return a binding of the snapshot to a new record."""
    managed_name = lab.driver.managed_name(snapshot, f"snapshot-{uuid.uuid4()}")
    return Binding(snapshot.identity, snapshot.name, managed_name)


def by_name(snapshot: BackendSnapshot) -> str:
    return snapshot.name


class WorkerKilled(BaseException):
    """Stands for SIGKILL: no code of a driver handles it."""


@dataclass(frozen=True)
class KillingRenamer:
    """A `Renamer` that kills the worker right before or right after the rename."""

    names: Renamer
    after: bool

    def look(self, *names: str) -> Mapping[str, BackendSnapshot]:
        return self.names.look(*names)

    def rename(self, old: str, new: str) -> None:
        if self.after:
            self.names.rename(old, new)
        raise WorkerKilled


@contextmanager
def killed_at_rename(after: bool) -> Iterator[None]:
    """Kill the worker at the next rename inside the context, and check that it was killed."""
    with pytest.MonkeyPatch.context() as patch:
        for operation in (renaming.manage, renaming.unmanage):
            patch.setattr(renaming, operation.__name__, _killed_at_rename(operation, after))
        with pytest.raises(WorkerKilled):
            yield


def _killed_at_rename(
    operation: Callable[[Renamer, Binding], object], after: bool
) -> Callable[[Renamer, Binding], object]:
    return lambda names, binding: operation(KillingRenamer(names, after), binding)


@contextmanager
def check_raises(kind: type[errors.SnapmanageError], code: str) -> Iterator[None]:
    with pytest.raises(kind) as caught:
        yield
    assert caught.value.code == code
    assert str(caught.value)


# Looking.


@pytest.mark.no_kernel
def test_working_backend_passes_the_check(lab: Lab) -> None:
    lab.driver.check()


@only_labs_with_storage_id
@pytest.mark.no_kernel
def test_storage_id_does_not_depend_on_the_content_of_the_storage(lab: Lab) -> None:
    before = lab.driver.storage_id()
    new_snapshot(lab)

    assert before is not None
    assert 0 < len(before) <= 255
    assert lab.driver.storage_id() == before


def test_listing_returns_every_snapshot_and_no_other_object(lab: Lab) -> None:
    daily, weekly = new_snapshot(lab, "daily"), new_snapshot(lab, "weekly")

    listed = lab.driver.list_snapshots()

    assert sorted(listed, key=by_name) == [daily, weekly]


@pytest.mark.no_kernel
def test_snapshot_is_described_with_its_volume_and_size(lab: Lab) -> None:
    volume = lab.driver.find_volume(Reference.named(lab.volume))

    snapshot = new_snapshot(lab)

    assert (snapshot.parent, snapshot.parent_identity) == (lab.volume, volume.identity)
    assert snapshot.size_bytes == volume.size_bytes == lab.size_bytes
    assert snapshot.unsafe is None


@only_labs_with_creation_time
@pytest.mark.no_kernel
def test_snapshot_has_its_creation_time_in_utc(lab: Lab) -> None:
    snapshot = new_snapshot(lab)

    assert snapshot.created_at is not None
    assert snapshot.created_at.tzinfo is UTC


@pytest.mark.no_kernel
def test_volume_and_snapshots_have_different_identities(lab: Lab) -> None:
    volume = lab.driver.find_volume(Reference.named(lab.volume))

    identities = {volume.identity, new_snapshot(lab, "daily").identity, new_snapshot(lab, "weekly").identity}

    assert len(identities) == 3


@in_guest_only_active_labs
def test_odd_but_valid_names_are_managed_and_unmanaged(lab: Lab) -> None:
    snapshots = [new_snapshot(lab, word) for word in ("_", "a.b+c-d_e", "UPPER", "0")]

    for binding in [binding_of(lab, snapshot) for snapshot in snapshots]:
        lab.driver.manage_snapshot(binding)
        lab.driver.unmanage_snapshot(binding)

    assert sorted(lab.driver.list_snapshots(), key=by_name) == sorted(snapshots, key=by_name)


@in_guest_only_active_labs
def test_name_with_every_allowed_character_is_managed_and_unmanaged(lab: Lab) -> None:
    snapshot = new_snapshot(lab, f"x{lab.legal_characters}")
    binding = binding_of(lab, snapshot)

    lab.driver.manage_snapshot(binding)
    managed = lab.names()
    lab.driver.unmanage_snapshot(binding)

    assert managed == {binding.managed_name}
    assert lab.driver.list_snapshots() == [snapshot]


@pytest.mark.no_kernel
def test_missing_snapshot_is_not_found(lab: Lab) -> None:
    absent = Reference.named(lab.name_of("absent"))

    with check_raises(errors.SourceNotFound, "source_not_found"):
        lab.driver.find_snapshot(absent)


@pytest.mark.no_kernel
def test_missing_volume_is_not_found(lab: Lab) -> None:
    with check_raises(errors.SourceNotFound, "source_not_found"):
        lab.driver.find_volume(Reference.named("absent"))


@pytest.mark.no_kernel
def test_reference_with_another_key_is_refused(lab: Lab) -> None:
    with check_raises(errors.InvalidReference, "invalid_reference"):
        lab.driver.find_snapshot(Reference.of({"source-nonsense": lab.name_of("daily")}))
    with check_raises(errors.InvalidReference, "invalid_reference"):
        lab.driver.find_snapshot(Reference.of({"source-name": lab.name_of("daily"), "more": "keys"}))
    with check_raises(errors.InvalidReference, "invalid_reference"):
        lab.driver.find_volume(Reference.of({"source-nonsense": lab.volume}))
    with check_raises(errors.InvalidReference, "invalid_reference"):
        lab.driver.find_volume(Reference.of({"source-name": lab.volume, "more": "keys"}))


@pytest.mark.no_kernel
def test_name_that_is_impossible_on_the_backend_is_refused(lab: Lab) -> None:
    for name in lab.impossible_names:
        with check_raises(errors.InvalidReference, "invalid_reference"):
            lab.driver.find_snapshot(Reference.named(name))
        with check_raises(errors.InvalidReference, "invalid_reference"):
            lab.driver.find_volume(Reference.named(name))


@pytest.mark.no_kernel
def test_volume_is_refused_as_a_snapshot(lab: Lab) -> None:
    with check_raises(errors.NotASnapshot, "not_a_snapshot"):
        lab.driver.find_snapshot(Reference.named(lab.volume))


@pytest.mark.no_kernel
def test_snapshot_is_refused_as_a_volume(lab: Lab) -> None:
    snapshot = new_snapshot(lab)

    with check_raises(errors.NotAVolume, "not_a_volume"):
        lab.driver.find_volume(Reference.named(snapshot.name))


@pytest.mark.no_kernel
def test_snapshot_is_refused_for_another_volume_but_not_for_another_name_of_its_volume(lab: Lab) -> None:
    volume = lab.driver.find_volume(Reference.named(lab.volume))
    other = lab.driver.find_volume(Reference.named(lab.add_volume("other-volume")))
    snapshot = new_snapshot(lab)

    with check_raises(errors.WrongVolume, "wrong_volume"):
        refuse_foreign(snapshot, other.name, other.identity)
    with check_raises(errors.WrongVolume, "wrong_volume"):
        refuse_foreign(snapshot, volume.name, other.identity)
    refuse_foreign(snapshot, other.name, volume.identity)


@pytest.mark.no_kernel
def test_unreachable_backend_is_a_retryable_error_until_it_is_reachable_again(lab: Lab) -> None:
    snapshot = new_snapshot(lab)
    binding = binding_of(lab, snapshot)
    lab.go_away()

    # The calls run at the same time, because each may last until the timeout of the driver.
    with ThreadPoolExecutor(5) as callers:
        calls: list[Future[object]] = [
            callers.submit(lab.driver.list_snapshots),
            callers.submit(lab.driver.find_snapshot, Reference.named(binding.original_name)),
            callers.submit(lab.driver.manage_snapshot, binding),
            callers.submit(lab.driver.unmanage_snapshot, binding),
            callers.submit(lab.driver.check),
        ]
    for call in calls:
        with check_raises(errors.BackendUnavailable, "backend_unavailable"):
            call.result()

    lab.come_back()

    lab.driver.check()
    assert lab.driver.list_snapshots() == [snapshot]
    assert lab.driver.manage_snapshot(binding).name == binding.managed_name


@only_labs_that_can_spoil
def test_unusable_snapshot_is_found_as_unusable_and_refused(spoiling_lab: SpoilingLab) -> None:
    name = spoiling_lab.add_unusable("spoiled")

    snapshot = spoiling_lab.driver.find_snapshot(Reference.named(name))

    with check_raises(errors.Unusable, "unusable"):
        refuse_unsafe(snapshot)
    assert [seen.unsafe for seen in spoiling_lab.driver.list_snapshots()] in ([], [Unsafe.UNUSABLE])


# Managing.


def test_managing_renames_and_keeps_the_identity(lab: Lab) -> None:
    snapshot = new_snapshot(lab)
    binding = binding_of(lab, snapshot)

    managed = lab.driver.manage_snapshot(binding)

    assert managed.name == binding.managed_name != snapshot.name
    assert (managed.identity, managed.size_bytes) == (snapshot.identity, snapshot.size_bytes)
    assert managed == lab.driver.find_snapshot(Reference.named(managed.name))
    assert lab.names() == {managed.name}


@pytest.mark.no_kernel
def test_managed_names_of_different_records_differ(lab: Lab) -> None:
    snapshot = new_snapshot(lab)

    names = {lab.driver.managed_name(snapshot, f"snapshot-{number}") for number in range(3)}

    assert len(names) == 3


@pytest.mark.no_kernel
def test_managing_again_returns_the_same_state(lab: Lab) -> None:
    binding = binding_of(lab, new_snapshot(lab))
    first = lab.driver.manage_snapshot(binding)

    second = lab.driver.manage_snapshot(binding)

    assert second == first
    assert lab.names() == {binding.managed_name}


@in_guest_only_active_labs
def test_two_workers_with_the_same_binding_rename_once_and_return_the_same_state(lab: Lab) -> None:
    binding = binding_of(lab, new_snapshot(lab))

    with ThreadPoolExecutor(2) as workers:
        states = list(workers.map(lab.driver.manage_snapshot, [binding, binding]))

    assert states[0] == states[1]
    assert lab.names() == {binding.managed_name}


@in_guest_only_active_labs
def test_of_two_workers_with_different_bindings_one_succeeds_and_one_does_not_find_the_snapshot(lab: Lab) -> None:
    snapshot = new_snapshot(lab)
    bindings = [binding_of(lab, snapshot), binding_of(lab, snapshot)]

    with ThreadPoolExecutor(2) as workers:
        bindings_by_call = {workers.submit(lab.driver.manage_snapshot, binding): binding for binding in bindings}
    [loser] = [failure for each in bindings_by_call if (failure := each.exception())]
    [winner] = [binding for each, binding in bindings_by_call.items() if not each.exception()]

    assert isinstance(loser, errors.SourceNotFound)
    assert lab.names() == {winner.managed_name}


@in_guest_only_active_labs
@pytest.mark.parametrize("after", [False, True], ids=["before-the-rename", "after-the-rename"])
def test_work_of_a_killed_worker_is_finished_by_repeating_it(lab: Lab, after: bool) -> None:
    snapshot = new_snapshot(lab)
    binding = binding_of(lab, snapshot)

    with killed_at_rename(after):
        lab.driver.manage_snapshot(binding)
    managed = lab.driver.manage_snapshot(binding)
    managed_names = lab.names()
    with killed_at_rename(after):
        lab.driver.unmanage_snapshot(binding)
    lab.driver.unmanage_snapshot(binding)

    assert (managed.name, managed.identity) == (binding.managed_name, snapshot.identity)
    assert managed_names == {binding.managed_name}
    assert lab.driver.list_snapshots() == [snapshot]


@pytest.mark.no_kernel
def test_managed_snapshot_with_a_third_name_is_listed_with_its_record(lab: Lab) -> None:
    snapshot = new_snapshot(lab)
    lab.driver.manage_snapshot(Binding(snapshot.identity, snapshot.name, lab.name_of("third")))

    [entry] = entries(lab.driver.list_snapshots(), Owned({snapshot.identity: "record-1"}))

    assert (entry.snapshot_id, entry.reference) == ("record-1", Reference.named(lab.name_of("third")))
    assert lab.driver.find_snapshot(entry.reference).identity == snapshot.identity


@only_labs_that_can_spoil
def test_unusable_snapshot_is_not_renamed(spoiling_lab: SpoilingLab) -> None:
    name = spoiling_lab.add_unusable("spoiled")
    identity = spoiling_lab.driver.find_snapshot(Reference.named(name)).identity
    names_before = spoiling_lab.names()

    with check_raises(errors.Unusable, "unusable"):
        spoiling_lab.driver.manage_snapshot(Binding(identity, name, spoiling_lab.name_of("managed")))

    assert spoiling_lab.names() == names_before


@in_guest_only_active_labs
def test_several_workers_manage_different_snapshots_at_once(lab: Lab) -> None:
    bindings = [binding_of(lab, new_snapshot(lab, f"daily-{number}")) for number in range(4)]

    with ThreadPoolExecutor(4) as workers:
        states = list(workers.map(lab.driver.manage_snapshot, bindings))

    assert [snapshot.identity for snapshot in states] == [binding.identity for binding in bindings]
    assert lab.names() == {binding.managed_name for binding in bindings}


@pytest.mark.no_kernel
def test_managing_with_an_unchanged_name_renames_nothing(lab: Lab) -> None:
    snapshot = new_snapshot(lab)
    binding = Binding(snapshot.identity, snapshot.name, snapshot.name)

    assert lab.driver.manage_snapshot(binding) == snapshot
    lab.driver.unmanage_snapshot(binding)

    assert lab.names() == {snapshot.name}


@pytest.mark.no_kernel
def test_managing_never_replaces_another_object(lab: Lab) -> None:
    snapshot = new_snapshot(lab)
    other = new_snapshot(lab, "other")

    with check_raises(errors.NameTaken, "name_taken"):
        lab.driver.manage_snapshot(Binding(snapshot.identity, snapshot.name, other.name))

    assert {snapshot.identity, other.identity} == {listed.identity for listed in lab.driver.list_snapshots()}


@pytest.mark.no_kernel
def test_another_object_with_the_old_name_stays_unchanged(lab: Lab) -> None:
    binding = binding_of(lab, new_snapshot(lab))
    lab.remove(binding.original_name)
    lab.add_snapshot(binding.original_name)

    with check_raises(errors.SourceNotFound, "source_not_found"):
        lab.driver.manage_snapshot(binding)

    assert lab.names() == {binding.original_name}


@pytest.mark.no_kernel
def test_managing_a_removed_snapshot_does_not_find_it(lab: Lab) -> None:
    binding = binding_of(lab, new_snapshot(lab))
    lab.remove(binding.original_name)

    with check_raises(errors.SourceNotFound, "source_not_found"):
        lab.driver.manage_snapshot(binding)


@only_labs_that_can_hold
def test_snapshot_in_use_is_listed_as_unsafe(holding_lab: HoldingLab) -> None:
    snapshot = new_snapshot(holding_lab)

    with holding_lab.held(snapshot.name):
        [seen] = holding_lab.driver.list_snapshots()

    assert (seen.unsafe, snapshot.unsafe) == (Unsafe.IN_USE, None)
    assert seen.unsafe_reason


@only_labs_that_can_hold
def test_snapshot_in_use_is_not_renamed_until_it_is_closed(holding_lab: HoldingLab) -> None:
    snapshot = new_snapshot(holding_lab)
    binding = binding_of(holding_lab, snapshot)

    with holding_lab.held(snapshot.name), check_raises(errors.InUse, "in_use"):
        holding_lab.driver.manage_snapshot(binding)
    assert holding_lab.names() == {snapshot.name}

    assert holding_lab.driver.manage_snapshot(binding).name == binding.managed_name


@only_labs_that_can_hold
def test_managing_again_succeeds_while_the_managed_snapshot_is_in_use(holding_lab: HoldingLab) -> None:
    binding = binding_of(holding_lab, new_snapshot(holding_lab))
    holding_lab.driver.manage_snapshot(binding)

    with holding_lab.held(binding.managed_name):
        managed = holding_lab.driver.manage_snapshot(binding)

    assert managed.name == binding.managed_name


# Giving back.


def test_unmanaging_restores_the_old_name_and_repeating_it_changes_nothing(lab: Lab) -> None:
    snapshot = new_snapshot(lab)
    binding = binding_of(lab, snapshot)
    lab.driver.manage_snapshot(binding)

    lab.driver.unmanage_snapshot(binding)
    lab.driver.unmanage_snapshot(binding)

    assert lab.driver.list_snapshots() == [snapshot]


@pytest.mark.no_kernel
def test_unmanaging_a_removed_snapshot_succeeds(lab: Lab) -> None:
    binding = binding_of(lab, new_snapshot(lab))
    lab.driver.manage_snapshot(binding)
    lab.remove(binding.managed_name)

    lab.driver.unmanage_snapshot(binding)

    assert lab.names() == set()


@pytest.mark.no_kernel
def test_unmanaging_keeps_a_third_name(lab: Lab) -> None:
    snapshot = new_snapshot(lab)
    binding = binding_of(lab, snapshot)
    third = lab.name_of("third")
    lab.driver.manage_snapshot(Binding(snapshot.identity, snapshot.name, third))

    lab.driver.unmanage_snapshot(binding)

    assert lab.names() == {third}


@pytest.mark.no_kernel
def test_unmanaging_never_replaces_an_object_with_the_old_name(lab: Lab) -> None:
    binding = binding_of(lab, new_snapshot(lab))
    lab.driver.manage_snapshot(binding)
    lab.add_snapshot(binding.original_name)

    with check_raises(errors.NameTaken, "name_taken"):
        lab.driver.unmanage_snapshot(binding)

    assert lab.names() == {binding.original_name, binding.managed_name}


@only_labs_that_can_hold
def test_snapshot_in_use_keeps_its_managed_name(holding_lab: HoldingLab) -> None:
    binding = binding_of(holding_lab, new_snapshot(holding_lab))
    holding_lab.driver.manage_snapshot(binding)

    with holding_lab.held(binding.managed_name), check_raises(errors.InUse, "in_use"):
        holding_lab.driver.unmanage_snapshot(binding)

    assert holding_lab.names() == {binding.managed_name}
