"""The contract of a driver: unmanaging snapshots."""

import pytest

from snapmanage import errors
from snapmanage.core.backend import Binding
from tests.contract.driver_contract import binding_of, check_raises, new_snapshot, only_labs_that_can_hold
from tests.contract.labs import HoldingLab, Lab


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
