"""Locating managed snapshots through vendor drivers, under any name."""

import json
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendObject
from snapmanage.core.maintenance.reconciliation import Kind
from snapmanage.manage.maintenance import reconciliation
from tests.contract.cinder.array import Array
from tests.contract.worlds import world_of
from tests.functional.client import SERVER


def test_managed_snapshot_is_located_by_its_name_alone(renaming_array: Array) -> None:
    binding = renaming_array.bind()
    renaming_array.driver.manage_snapshot(binding)

    located = renaming_array.driver.locate({binding.identity}, {binding.managed_name})

    assert located == [BackendObject(binding.managed_name, "")]


def test_managed_snapshot_is_located_though_the_vendor_driver_chose_its_name(array: Array) -> None:
    binding = array.bind()
    array.driver.manage_snapshot(binding)

    located = array.driver.locate({binding.identity}, {binding.managed_name})
    array.write_snapshots({"weekly": "disk-1"})

    assert located == [BackendObject(binding.managed_name, "")]
    assert array.driver.locate({binding.identity}, {binding.managed_name}) == []


def test_snapshot_that_is_now_listed_as_a_volume_is_located_but_not_unmanaged(renaming_array: Array) -> None:
    binding = renaming_array.bind()
    renaming_array.driver.manage_snapshot(binding)
    renaming_array.file.write_text(json.dumps({"volumes": ["disk-1", binding.managed_name], "snapshots": {}}))

    assert renaming_array.driver.locate((), {binding.managed_name}) == [BackendObject(binding.managed_name, "")]
    with pytest.raises(errors.Unusable, match="rename it to 'daily'"):
        renaming_array.driver.unmanage_snapshot(binding)


def test_reconciliation_reports_a_snapshot_as_gone_only_if_its_name_is_gone(
    renaming_array: Array, tmp_path: Path
) -> None:
    with world_of(tmp_path, renaming_array.driver) as world:
        snapshot_id = world.manage_snapshot(world.register_volume("disk-1"), "daily")

        assert reconciliation.differences(world.db, SERVER, renaming_array.driver) == []
        renaming_array.write_snapshots({"weekly": "disk-1"})
        [gone] = reconciliation.differences(world.db, SERVER, renaming_array.driver)

    assert (gone.kind, gone.snapshot.id) == (Kind.VANISHED, snapshot_id)
