"""What every driver owes, shown on its real backend.

`fake` and `file` run everywhere. `lvm` runs on metadata here, where no snapshot can be opened, and
again in a guest with a kernel of its own (`tests/integration/test_lvm_kernel`). The guest leaves out the
tests that are marked `no_kernel`: device-mapper plays no part in what they show, so LVM on metadata, with
the same lvm2, shows all of it.
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

only_where_the_storage_has_an_id = pytest.mark.parametrize("lab", WITH_STORAGE_ID, indirect=True)
only_where_it_is_born = pytest.mark.parametrize("lab", BORN, indirect=True)
in_the_guest_only_where_it_is_active = pytest.mark.parametrize("lab", ACTIVE, indirect=True)
only_where_it_can_be_held = pytest.mark.parametrize("lab", HOLDING, indirect=True)
only_where_it_can_be_spoiled = pytest.mark.parametrize("lab", SPOILING, indirect=True)


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


class Killed(BaseException):
    """Stands for SIGKILL: no driver can answer it."""


@dataclass(frozen=True)
class Dying:
    """The names on a backend, as a worker sees them who dies right before or after the rename."""

    names: Renamer
    after: bool

    def look(self, *names: str) -> Mapping[str, BackendSnapshot]:
        return self.names.look(*names)

    def rename(self, old: str, new: str) -> None:
        if self.after:
            self.names.rename(old, new)
        raise Killed


@contextmanager
def dying(after: bool) -> Iterator[None]:
    """Whoever renames meanwhile dies of it."""
    with pytest.MonkeyPatch.context() as patch:
        for act in (renaming.manage, renaming.unmanage):
            patch.setattr(renaming, act.__name__, _dying(act, after))
        with pytest.raises(Killed):
            yield


def _dying(act: Callable[[Renamer, Binding], object], after: bool) -> Callable[[Renamer, Binding], object]:
    return lambda names, binding: act(Dying(names, after), binding)


@contextmanager
def refused(kind: type[errors.SnapmanageError], code: str) -> Iterator[None]:
    with pytest.raises(kind) as caught:
        yield
    assert caught.value.code == code
    assert str(caught.value)


# Looking.


@pytest.mark.no_kernel
def test_backend_that_is_well_passes_the_check(lab: Lab) -> None:
    lab.driver.check()


@only_where_the_storage_has_an_id
@pytest.mark.no_kernel
def test_storage_has_an_id_that_does_not_depend_on_what_is_on_it(lab: Lab) -> None:
    before = lab.driver.storage_id()
    found(lab)

    assert before is not None
    assert 0 < len(before) <= 255
    assert lab.driver.storage_id() == before


def test_listing_tells_every_snapshot_and_nothing_else(lab: Lab) -> None:
    daily, weekly = found(lab, "daily"), found(lab, "weekly")

    listed = lab.driver.list_snapshots()

    assert sorted(listed, key=by_name) == [daily, weekly]


@pytest.mark.no_kernel
def test_snapshot_is_described_with_its_volume_and_size(lab: Lab) -> None:
    volume = lab.driver.find_volume(Reference.named(lab.volume))

    snapshot = found(lab)

    assert (snapshot.parent, snapshot.parent_identity) == (lab.volume, volume.identity)
    assert snapshot.size_bytes == volume.size_bytes == lab.size_bytes
    assert snapshot.unsafe is None


@only_where_it_is_born
@pytest.mark.no_kernel
def test_snapshot_has_the_time_of_its_birth(lab: Lab) -> None:
    snapshot = found(lab)

    assert snapshot.created_at is not None
    assert snapshot.created_at.tzinfo is UTC


@pytest.mark.no_kernel
def test_identities_differ(lab: Lab) -> None:
    volume = lab.driver.find_volume(Reference.named(lab.volume))

    identities = {volume.identity, found(lab, "daily").identity, found(lab, "weekly").identity}

    assert len(identities) == 3


@in_the_guest_only_where_it_is_active
def test_odd_but_legal_names_are_managed_and_given_back(lab: Lab) -> None:
    snapshots = [found(lab, word) for word in ("_", "a.b+c-d_e", "UPPER", "0")]

    for binding in [bound(lab, snapshot) for snapshot in snapshots]:
        lab.driver.manage_snapshot(binding)
        lab.driver.unmanage_snapshot(binding)

    assert sorted(lab.driver.list_snapshots(), key=by_name) == sorted(snapshots, key=by_name)


@in_the_guest_only_where_it_is_active
def test_name_with_every_character_that_the_backend_allows_is_managed_and_given_back(lab: Lab) -> None:
    snapshot = found(lab, f"x{lab.legal_characters}")
    binding = bound(lab, snapshot)

    lab.driver.manage_snapshot(binding)
    managed = lab.names()
    lab.driver.unmanage_snapshot(binding)

    assert managed == {binding.managed_name}
    assert lab.driver.list_snapshots() == [snapshot]


@pytest.mark.no_kernel
def test_name_that_nothing_bears_is_not_found(lab: Lab) -> None:
    absent = Reference.named(lab.name_of("absent"))

    with refused(errors.SourceNotFound, "source_not_found"):
        lab.driver.find_snapshot(absent)


@pytest.mark.no_kernel
def test_volume_that_is_not_there_is_not_found(lab: Lab) -> None:
    with refused(errors.SourceNotFound, "source_not_found"):
        lab.driver.find_volume(Reference.named("absent"))


@pytest.mark.no_kernel
def test_reference_with_another_key_is_refused(lab: Lab) -> None:
    with refused(errors.InvalidReference, "invalid_reference"):
        lab.driver.find_snapshot(Reference.of({"source-nonsense": lab.name_of("daily")}))
    with refused(errors.InvalidReference, "invalid_reference"):
        lab.driver.find_snapshot(Reference.of({"source-name": lab.name_of("daily"), "more": "keys"}))
    with refused(errors.InvalidReference, "invalid_reference"):
        lab.driver.find_volume(Reference.of({"source-nonsense": lab.volume}))
    with refused(errors.InvalidReference, "invalid_reference"):
        lab.driver.find_volume(Reference.of({"source-name": lab.volume, "more": "keys"}))


@pytest.mark.no_kernel
def test_name_that_the_backend_cannot_have_is_refused(lab: Lab) -> None:
    for name in lab.impossible_names:
        with refused(errors.InvalidReference, "invalid_reference"):
            lab.driver.find_snapshot(Reference.named(name))
        with refused(errors.InvalidReference, "invalid_reference"):
            lab.driver.find_volume(Reference.named(name))


@pytest.mark.no_kernel
def test_volume_is_no_snapshot(lab: Lab) -> None:
    with refused(errors.NotASnapshot, "not_a_snapshot"):
        lab.driver.find_snapshot(Reference.named(lab.volume))


@pytest.mark.no_kernel
def test_snapshot_is_no_volume(lab: Lab) -> None:
    snapshot = found(lab)

    with refused(errors.NotAVolume, "not_a_volume"):
        lab.driver.find_volume(Reference.named(snapshot.name))


@pytest.mark.no_kernel
def test_snapshot_is_refused_under_another_volume_and_under_no_other_name_of_its_own(lab: Lab) -> None:
    volume = lab.driver.find_volume(Reference.named(lab.volume))
    other = lab.driver.find_volume(Reference.named(lab.add_volume("other-volume")))
    snapshot = found(lab)

    with refused(errors.WrongVolume, "wrong_volume"):
        refuse_foreign(snapshot, other.name, other.identity)
    with refused(errors.WrongVolume, "wrong_volume"):
        refuse_foreign(snapshot, volume.name, other.identity)
    refuse_foreign(snapshot, other.name, volume.identity)


@pytest.mark.no_kernel
def test_backend_that_is_away_is_an_error_that_may_pass_and_no_empty_listing_until_it_is_back(lab: Lab) -> None:
    snapshot = found(lab)
    binding = bound(lab, snapshot)
    lab.go_away()

    # Simultaneous calls, because each may last until the driver's time-out.
    with ThreadPoolExecutor(5) as callers:
        calls: list[Future[object]] = [
            callers.submit(lab.driver.list_snapshots),
            callers.submit(lab.driver.find_snapshot, Reference.named(binding.original_name)),
            callers.submit(lab.driver.manage_snapshot, binding),
            callers.submit(lab.driver.unmanage_snapshot, binding),
            callers.submit(lab.driver.check),
        ]
    for call in calls:
        with refused(errors.BackendUnavailable, "backend_unavailable"):
            call.result()

    lab.come_back()

    lab.driver.check()
    assert lab.driver.list_snapshots() == [snapshot]
    assert lab.driver.manage_snapshot(binding).name == binding.managed_name


@only_where_it_can_be_spoiled
def test_snapshot_that_nobody_can_use_is_told_and_refused(spoiling_lab: SpoilingLab) -> None:
    name = spoiling_lab.add_unusable("spoiled")

    snapshot = spoiling_lab.driver.find_snapshot(Reference.named(name))

    with refused(errors.Unusable, "unusable"):
        refuse_unsafe(snapshot)
    assert [seen.unsafe for seen in spoiling_lab.driver.list_snapshots()] in ([], [Unsafe.UNUSABLE])


# Managing.


def test_managing_renames_and_keeps_the_identity(lab: Lab) -> None:
    snapshot = found(lab)
    binding = bound(lab, snapshot)

    managed = lab.driver.manage_snapshot(binding)

    assert managed.name == binding.managed_name != snapshot.name
    assert (managed.identity, managed.size_bytes) == (snapshot.identity, snapshot.size_bytes)
    assert managed == lab.driver.find_snapshot(Reference.named(managed.name))
    assert lab.names() == {managed.name}


@pytest.mark.no_kernel
def test_managed_name_is_one_records_own(lab: Lab) -> None:
    snapshot = found(lab)

    names = {lab.driver.managed_name(snapshot, f"snapshot-{number}") for number in range(3)}

    assert len(names) == 3


@pytest.mark.no_kernel
def test_managing_again_after_a_worker_died_finds_the_finished_state(lab: Lab) -> None:
    binding = bound(lab, found(lab))
    first = lab.driver.manage_snapshot(binding)

    second = lab.driver.manage_snapshot(binding)

    assert second == first
    assert lab.names() == {binding.managed_name}


@in_the_guest_only_where_it_is_active
def test_two_workers_at_once_both_see_one_rename(lab: Lab) -> None:
    binding = bound(lab, found(lab))

    with ThreadPoolExecutor(2) as workers:
        described = list(workers.map(lab.driver.manage_snapshot, [binding, binding]))

    assert described[0] == described[1]
    assert lab.names() == {binding.managed_name}


@in_the_guest_only_where_it_is_active
def test_of_two_managers_of_one_snapshot_one_gets_it_and_the_other_learns_that_it_is_gone(lab: Lab) -> None:
    snapshot = found(lab)
    bindings = [bound(lab, snapshot), bound(lab, snapshot)]

    with ThreadPoolExecutor(2) as managers:
        asked = {managers.submit(lab.driver.manage_snapshot, binding): binding for binding in bindings}
    [loser] = [failure for each in asked if (failure := each.exception())]
    [winner] = [binding for each, binding in asked.items() if not each.exception()]

    assert isinstance(loser, errors.SourceNotFound)
    assert lab.names() == {winner.managed_name}


@in_the_guest_only_where_it_is_active
@pytest.mark.parametrize("after", [False, True], ids=["before-the-rename", "after-the-rename"])
def test_who_takes_over_from_a_killed_worker_finishes_its_work(lab: Lab, after: bool) -> None:
    snapshot = found(lab)
    binding = bound(lab, snapshot)

    with dying(after):
        lab.driver.manage_snapshot(binding)
    managed = lab.driver.manage_snapshot(binding)
    managed_names = lab.names()
    with dying(after):
        lab.driver.unmanage_snapshot(binding)
    lab.driver.unmanage_snapshot(binding)

    assert (managed.name, managed.identity) == (binding.managed_name, snapshot.identity)
    assert managed_names == {binding.managed_name}
    assert lab.driver.list_snapshots() == [snapshot]


@pytest.mark.no_kernel
def test_managed_snapshot_is_known_again_whatever_its_name(lab: Lab) -> None:
    snapshot = found(lab)
    lab.driver.manage_snapshot(Binding(snapshot.identity, snapshot.name, lab.name_of("third")))

    [entry] = entries(lab.driver.list_snapshots(), Owned({snapshot.identity: "record-1"}))

    assert (entry.snapshot_id, entry.reference) == ("record-1", Reference.named(lab.name_of("third")))
    assert lab.driver.find_snapshot(entry.reference).identity == snapshot.identity


@only_where_it_can_be_spoiled
def test_snapshot_that_nobody_can_use_is_not_renamed(spoiling_lab: SpoilingLab) -> None:
    name = spoiling_lab.add_unusable("spoiled")
    identity = spoiling_lab.driver.find_snapshot(Reference.named(name)).identity
    there = spoiling_lab.names()

    with refused(errors.Unusable, "unusable"):
        spoiling_lab.driver.manage_snapshot(Binding(identity, name, spoiling_lab.name_of("managed")))

    assert spoiling_lab.names() == there


@in_the_guest_only_where_it_is_active
def test_several_workers_manage_their_own_snapshots_at_once(lab: Lab) -> None:
    bindings = [bound(lab, found(lab, f"daily-{number}")) for number in range(4)]

    with ThreadPoolExecutor(4) as workers:
        described = list(workers.map(lab.driver.manage_snapshot, bindings))

    assert [snapshot.identity for snapshot in described] == [binding.identity for binding in bindings]
    assert lab.names() == {binding.managed_name for binding in bindings}


@pytest.mark.no_kernel
def test_managing_without_a_new_name_renames_nothing(lab: Lab) -> None:
    snapshot = found(lab)
    binding = Binding(snapshot.identity, snapshot.name, snapshot.name)

    assert lab.driver.manage_snapshot(binding) == snapshot
    lab.driver.unmanage_snapshot(binding)

    assert lab.names() == {snapshot.name}


@pytest.mark.no_kernel
def test_managing_never_replaces_another_object(lab: Lab) -> None:
    snapshot = found(lab)
    other = found(lab, "other")

    with refused(errors.NameTaken, "name_taken"):
        lab.driver.manage_snapshot(Binding(snapshot.identity, snapshot.name, other.name))

    assert {snapshot.identity, other.identity} == {listed.identity for listed in lab.driver.list_snapshots()}


@pytest.mark.no_kernel
def test_another_object_under_the_old_name_is_left_alone(lab: Lab) -> None:
    binding = bound(lab, found(lab))
    lab.remove(binding.original_name)
    lab.add_snapshot(binding.original_name)

    with refused(errors.SourceNotFound, "source_not_found"):
        lab.driver.manage_snapshot(binding)

    assert lab.names() == {binding.original_name}


@pytest.mark.no_kernel
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


@pytest.mark.no_kernel
def test_unmanaging_what_is_gone_is_done(lab: Lab) -> None:
    binding = bound(lab, found(lab))
    lab.driver.manage_snapshot(binding)
    lab.remove(binding.managed_name)

    lab.driver.unmanage_snapshot(binding)

    assert lab.names() == set()


@pytest.mark.no_kernel
def test_unmanaging_leaves_a_third_name_alone(lab: Lab) -> None:
    snapshot = found(lab)
    binding = bound(lab, snapshot)
    third = lab.name_of("third")
    lab.driver.manage_snapshot(Binding(snapshot.identity, snapshot.name, third))

    lab.driver.unmanage_snapshot(binding)

    assert lab.names() == {third}


@pytest.mark.no_kernel
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
