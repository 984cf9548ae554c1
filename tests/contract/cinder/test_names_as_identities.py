"""Vendor drivers that list only names: a name is the identity."""

import pytest

from snapmanage import errors
from snapmanage.core.backend import Binding
from tests.contract.cinder.array import Array


def test_name_is_the_identity_if_there_is_no_other(pliant: Array) -> None:
    binding = pliant.bind()

    managed = pliant.driver.manage_snapshot(binding)
    assert (managed.name, managed.identity) == (binding.managed_name, binding.identity)
    assert pliant.driver.manage_snapshot(binding) == managed
    assert pliant.names == {binding.managed_name, "weekly"}

    pliant.driver.unmanage_snapshot(binding)
    assert pliant.names == {"daily", "weekly"}


def test_name_of_a_managed_snapshot_is_refused_to_other_requests(pliant: Array) -> None:
    binding = pliant.bind()
    pliant.driver.manage_snapshot(binding)

    with pytest.raises(errors.AlreadyManaged):
        pliant.find(binding.managed_name)


def test_new_snapshot_under_the_original_name_is_not_confused_with_the_managed_one(pliant: Array) -> None:
    binding = pliant.bind()
    pliant.driver.manage_snapshot(binding)
    pliant.write_snapshots({binding.managed_name: "disk-1", "daily": "disk-1"})

    assert pliant.driver.manage_snapshot(binding).name == binding.managed_name
    with pytest.raises(errors.NameTaken):
        pliant.driver.unmanage_snapshot(binding)
    assert pliant.names == {binding.managed_name, "daily"}


def test_managed_name_that_a_volume_has_is_refused(pliant: Array) -> None:
    snapshot = pliant.find()
    pliant.write_snapshots({"daily": "disk-1", "disk-1": "disk-1"})

    with pytest.raises(errors.NameTaken):
        pliant.driver.manage_snapshot(Binding(snapshot.identity, "daily", "disk-1"))


def test_vendor_drivers_unmanage_is_called_only_after_a_rename_back(
    pliant: Array, caplog: pytest.LogCaptureFixture
) -> None:
    binding = pliant.bind()
    pliant.driver.unmanage_snapshot(binding)
    assert "Unmanaged daily." not in caplog.messages
    pliant.driver.manage_snapshot(binding)

    pliant.driver.unmanage_snapshot(binding)

    assert "Unmanaged daily." in caplog.messages
