"""Vendor drivers that list only names: a name is the identity."""

import pytest

from snapmanage import errors
from snapmanage.core.backend import Binding
from tests.contract.cinder.array import Array


def test_name_is_the_identity_if_there_is_no_other(renaming_array: Array) -> None:
    binding = renaming_array.bind()

    managed = renaming_array.driver.manage_snapshot(binding)
    assert (managed.name, managed.identity) == (binding.managed_name, binding.identity)
    assert renaming_array.driver.manage_snapshot(binding) == managed
    assert renaming_array.names == {binding.managed_name, "weekly"}

    renaming_array.driver.unmanage_snapshot(binding)
    assert renaming_array.names == {"daily", "weekly"}


def test_name_of_a_managed_snapshot_is_refused_to_other_requests(renaming_array: Array) -> None:
    binding = renaming_array.bind()
    renaming_array.driver.manage_snapshot(binding)

    with pytest.raises(errors.AlreadyManaged):
        renaming_array.find(binding.managed_name)


def test_new_snapshot_under_the_original_name_is_not_confused_with_the_managed_one(renaming_array: Array) -> None:
    binding = renaming_array.bind()
    renaming_array.driver.manage_snapshot(binding)
    renaming_array.write_snapshots({binding.managed_name: "disk-1", "daily": "disk-1"})

    assert renaming_array.driver.manage_snapshot(binding).name == binding.managed_name
    with pytest.raises(errors.NameTaken):
        renaming_array.driver.unmanage_snapshot(binding)
    assert renaming_array.names == {binding.managed_name, "daily"}


def test_managed_name_that_a_volume_has_is_refused(renaming_array: Array) -> None:
    snapshot = renaming_array.find()
    renaming_array.write_snapshots({"daily": "disk-1", "disk-1": "disk-1"})

    with pytest.raises(errors.NameTaken):
        renaming_array.driver.manage_snapshot(Binding(snapshot.identity, "daily", "disk-1"))


def test_vendor_drivers_unmanage_is_called_only_after_a_rename_back(
    renaming_array: Array, caplog: pytest.LogCaptureFixture
) -> None:
    binding = renaming_array.bind()
    renaming_array.driver.unmanage_snapshot(binding)
    assert "Unmanaged daily." not in caplog.messages
    renaming_array.driver.manage_snapshot(binding)

    renaming_array.driver.unmanage_snapshot(binding)

    assert "Unmanaged daily." in caplog.messages
