"""The contract of a driver: unmanaging snapshots."""

import pytest

from snapmanage import errors
from snapmanage.core.backend import Binding
from snapmanage.testing.contract.helpers import binding_of, check_raises, new_snapshot
from snapmanage.testing.lab import HoldingLab, Lab


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


@pytest.mark.lab_needs("held")
def test_snapshot_in_use_keeps_its_managed_name(lab: HoldingLab) -> None:
    binding = binding_of(lab, new_snapshot(lab))
    lab.driver.manage_snapshot(binding)

    with lab.held(binding.managed_name), check_raises(errors.InUse, "in_use"):
        lab.driver.unmanage_snapshot(binding)

    assert lab.names() == {binding.managed_name}
