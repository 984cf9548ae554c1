"""The contract of a driver: managing snapshots, also if a worker is killed or another one does the same."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from snapmanage import errors
from snapmanage.core.backend import Binding, Unsafe
from snapmanage.core.lists.manageable import Owned, assess, entries
from snapmanage.core.reference import Reference
from snapmanage.testing.contract.helpers import binding_of, by_name, check_raises, killed_at_rename, new_snapshot
from snapmanage.testing.lab import HoldingLab, Lab, SpoilingLab


@pytest.mark.active
def test_odd_but_valid_names_are_managed_and_unmanaged(lab: Lab) -> None:
    snapshots = [new_snapshot(lab, word) for word in ("_", "a.b+c-d_e", "UPPER", "0")]

    for binding in [binding_of(lab, snapshot) for snapshot in snapshots]:
        lab.driver.manage_snapshot(binding)
        lab.driver.unmanage_snapshot(binding)

    assert sorted(lab.driver.list_snapshots(), key=by_name) == sorted(snapshots, key=by_name)


@pytest.mark.active
def test_name_with_every_allowed_character_is_managed_and_unmanaged(lab: Lab) -> None:
    snapshot = new_snapshot(lab, f"x{lab.legal_characters}")
    binding = binding_of(lab, snapshot)

    lab.driver.manage_snapshot(binding)
    managed = lab.names()
    lab.driver.unmanage_snapshot(binding)

    assert managed == {binding.managed_name}
    assert lab.driver.list_snapshots() == [snapshot]


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


@pytest.mark.active
def test_two_workers_with_the_same_binding_rename_once_and_return_the_same_state(lab: Lab) -> None:
    binding = binding_of(lab, new_snapshot(lab))

    with ThreadPoolExecutor(2) as workers:
        states = list(workers.map(lab.driver.manage_snapshot, [binding, binding]))

    assert states[0] == states[1]
    assert lab.names() == {binding.managed_name}


@pytest.mark.active
def test_of_two_workers_with_different_bindings_one_succeeds_and_one_does_not_find_the_snapshot(lab: Lab) -> None:
    snapshot = new_snapshot(lab)
    bindings = [binding_of(lab, snapshot), binding_of(lab, snapshot)]

    with ThreadPoolExecutor(2) as workers:
        bindings_by_call = {workers.submit(lab.driver.manage_snapshot, binding): binding for binding in bindings}
    [loser] = [failure for each in bindings_by_call if (failure := each.exception())]
    [winner] = [binding for each, binding in bindings_by_call.items() if not each.exception()]

    assert isinstance(loser, errors.SourceNotFound)
    assert lab.names() == {winner.managed_name}


@pytest.mark.active
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

    [entry] = entries(assess(lab.driver.list_snapshots(), Owned({snapshot.identity: "record-1"})))

    assert (entry.record_id, entry.reference) == ("record-1", Reference.named(lab.name_of("third")))
    assert lab.driver.find_snapshot(entry.reference).identity == snapshot.identity


@pytest.mark.lab_needs("add_unusable")
def test_unusable_snapshot_is_not_renamed(lab: SpoilingLab) -> None:
    name = lab.add_unusable("spoiled")
    identity = lab.driver.find_snapshot(Reference.named(name)).identity
    names_before = lab.names()

    with check_raises(errors.Unusable, "unusable"):
        lab.driver.manage_snapshot(Binding(identity, name, lab.name_of("managed")))

    assert lab.names() == names_before


@pytest.mark.active
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


@pytest.mark.lab_needs("held")
def test_snapshot_in_use_is_listed_as_unsafe(lab: HoldingLab) -> None:
    snapshot = new_snapshot(lab)

    with lab.held(snapshot.name):
        [seen] = lab.driver.list_snapshots()

    assert (seen.unsafe, snapshot.unsafe) == (Unsafe.IN_USE, None)
    assert seen.unsafe_reason


@pytest.mark.lab_needs("held")
def test_snapshot_in_use_is_not_renamed_until_it_is_closed(lab: HoldingLab) -> None:
    snapshot = new_snapshot(lab)
    binding = binding_of(lab, snapshot)

    with lab.held(snapshot.name), check_raises(errors.InUse, "in_use"):
        lab.driver.manage_snapshot(binding)
    assert lab.names() == {snapshot.name}

    assert lab.driver.manage_snapshot(binding).name == binding.managed_name


@pytest.mark.lab_needs("held")
def test_managing_again_succeeds_while_the_managed_snapshot_is_in_use(lab: HoldingLab) -> None:
    binding = binding_of(lab, new_snapshot(lab))
    lab.driver.manage_snapshot(binding)

    with lab.held(binding.managed_name):
        managed = lab.driver.manage_snapshot(binding)

    assert managed.name == binding.managed_name
