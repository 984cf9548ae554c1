"""Renames on a btrfs: data, concurrent looks, and power failures."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from snapmanage import crash
from snapmanage.core.backend import Binding
from snapmanage.crash import Point
from snapmanage.drivers.btrfs import reading
from snapmanage.drivers.btrfs.driver import BtrfsDriver
from snapmanage.drivers.btrfs.view import Member
from snapmanage.testing.services.storage.btrfs import Btrfs
from tests.contract.btrfs.helpers import bind

# A driver that looked only once would miss the object in about a tenth of the looks.
MANY_LOOKS = 3000
RENAME_TO_AND_FRO = """
import os, sys

os.chdir(sys.argv[1])
while True:
    os.rename("one", "other")
    os.rename("other", "one")
"""


class Killed(BaseException):
    """Stands for the death of a worker; snapmanage never catches it."""


def test_data_survive_a_manage_request(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    (btrfs.top / "volume-1" / "data").write_bytes(b"before")
    btrfs.add_snapshots("volume-1", "daily")
    (btrfs.top / "volume-1" / "data").write_bytes(b"after")
    binding = bind(driver, "daily")

    driver.manage_snapshot(binding)

    assert (btrfs.top / binding.managed_name / "data").read_bytes() == b"before"


def test_object_that_is_renamed_during_a_look_is_found_under_one_of_its_names(
    btrfs: Btrfs, driver: BtrfsDriver
) -> None:
    btrfs.add_snapshots("volume-1", "one")
    renamer = driver.renamer([Binding(bind(driver, "one").identity, "one", "other")])

    with subprocess.Popen([sys.executable, "-c", RENAME_TO_AND_FRO, str(btrfs.top)]) as renaming:
        try:
            looks = [renamer.look("one", "other") for _ in range(MANY_LOOKS)]
            assert renaming.poll() is None
        finally:
            renaming.kill()

    assert [look for look in looks if len(look) != 1] == []


def test_object_that_is_renamed_before_the_search_has_one_name(
    btrfs: Btrfs, driver: BtrfsDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    btrfs.add_snapshots("volume-1", "one")
    read = reading.look_up

    def read_during_a_rename(folder: str, file_system: str, names: Sequence[str]) -> tuple[dict[str, Member], set[str]]:
        found, _ = read(folder, file_system, ["one"])
        os.rename(btrfs.top / "one", btrfs.top / "other")
        return found, {"other"}

    monkeypatch.setattr(reading, "look_up", read_during_a_rename)

    assert list(driver.renamer().look("one", "other")) == ["other"]


def test_next_worker_completes_a_rename_that_is_not_on_the_disk_yet(
    btrfs: Btrfs, driver: BtrfsDriver, binding: Binding, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(at: Point) -> None:
        if at is Point.RENAME_UNSYNCED:
            raise Killed

    for act in (driver.manage_snapshot, driver.unmanage_snapshot):
        monkeypatch.setattr(crash, "at", die)
        with pytest.raises(Killed):
            act(binding)
        monkeypatch.undo()
        act(binding)

    assert btrfs.snapshots() == {binding.original_name}


def test_new_name_survives_a_power_failure(btrfs: Btrfs, driver: BtrfsDriver, binding: Binding) -> None:
    driver.manage_snapshot(binding)

    assert Path(binding.managed_name).name in btrfs.on_disk()


def test_name_from_a_killed_worker_survives_a_power_failure_once_it_is_reported(
    btrfs: Btrfs, driver: BtrfsDriver, binding: Binding
) -> None:
    driver.renamer().rename(binding.original_name, binding.managed_name)
    assert Path(binding.managed_name).name not in btrfs.on_disk()

    driver.manage_snapshot(binding)

    assert Path(binding.managed_name).name in btrfs.on_disk()


def test_unmanage_succeeds_for_a_snapshot_that_is_gone_with_its_folder(
    btrfs: Btrfs, driver: BtrfsDriver, binding: Binding
) -> None:
    driver.manage_snapshot(binding)
    btrfs.remove(binding.managed_name)
    (btrfs.top / "snapshots").rmdir()

    driver.unmanage_snapshot(binding)

    assert btrfs.snapshots() == set()
