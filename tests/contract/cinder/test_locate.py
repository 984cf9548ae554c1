"""Locating managed snapshots through vendor drivers, under any name."""

import json
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendObject
from snapmanage.core.reconciliation import Kind
from snapmanage.manage import reconciliation
from tests.contract.cinder.array import Array
from tests.contract.worlds import world_of
from tests.functional.client import SERVER


def test_managed_snapshot_is_located_by_its_name_alone(pliant: Array) -> None:
    binding = pliant.bind()
    pliant.driver.manage_snapshot(binding)

    located = pliant.driver.locate({binding.identity}, {binding.managed_name})

    assert located == [BackendObject(binding.managed_name, "")]


def test_managed_snapshot_is_located_though_the_vendor_driver_chose_its_name(array: Array) -> None:
    binding = array.bind()
    array.driver.manage_snapshot(binding)

    located = array.driver.locate({binding.identity}, {binding.managed_name})
    array.write_snapshots({"weekly": "disk-1"})

    assert located == [BackendObject(binding.managed_name, "")]
    assert array.driver.locate({binding.identity}, {binding.managed_name}) == []


def test_snapshot_that_is_now_listed_as_a_volume_is_located_but_not_unmanaged(pliant: Array) -> None:
    binding = pliant.bind()
    pliant.driver.manage_snapshot(binding)
    pliant.file.write_text(json.dumps({"volumes": ["disk-1", binding.managed_name], "snapshots": {}}))

    assert pliant.driver.locate((), {binding.managed_name}) == [BackendObject(binding.managed_name, "")]
    with pytest.raises(errors.Unusable, match="rename it to 'daily'"):
        pliant.driver.unmanage_snapshot(binding)


def test_reconciliation_reports_a_snapshot_as_gone_only_if_its_name_is_gone(pliant: Array, tmp_path: Path) -> None:
    with world_of(tmp_path, pliant.driver) as world:
        snapshot_id = world.manage_snapshot(world.register_volume("disk-1"), "daily")

        assert reconciliation.differences(world.db, SERVER, pliant.driver) == []
        pliant.write_snapshots({"weekly": "disk-1"})
        [gone] = reconciliation.differences(world.db, SERVER, pliant.driver)

    assert (gone.kind, gone.snapshot.id) == (Kind.VANISHED, snapshot_id)
