"""Mounts put btrfs snapshots in use."""

import pytest

from snapmanage import errors
from snapmanage.core.backend import Unsafe
from snapmanage.drivers.btrfs.driver import BtrfsDriver
from snapmanage.testing.services.storage.btrfs import Btrfs, run
from tests.contract.btrfs.helpers import bind


def test_snapshot_with_a_part_of_it_mounted_is_in_use(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    btrfs.add_snapshots("volume-1", "daily", "weekly", read_only=False)
    for name in ("daily/data", "point"):
        (btrfs.top / name).mkdir()
    run("mount", "--bind", str(btrfs.top / "daily/data"), str(btrfs.top / "point"))
    try:
        unsafe = {found.name: found.unsafe for found in driver.list_snapshots()}
    finally:
        run("umount", str(btrfs.top / "point"))

    assert unsafe == {"daily": Unsafe.IN_USE, "weekly": None}


def test_mount_of_another_file_system_does_not_put_a_snapshot_in_use(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    btrfs.add_snapshots("volume-1", "daily")
    other = btrfs.folder / "other"
    other.mkdir()
    run("mount", "-t", "tmpfs", "tmpfs", str(other))
    try:
        (other / "daily").mkdir()
        run("mount", "--bind", str(other / "daily"), str(other / "daily"))
        [found] = driver.list_snapshots()
    finally:
        run("umount", "--recursive", str(other))

    assert found.unsafe is None


def test_snapshot_with_a_mount_on_it_is_not_renamed(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    btrfs.add_snapshots("volume-1", "daily")
    binding = bind(driver, "daily")
    run("mount", "-t", "tmpfs", "tmpfs", str(btrfs.top / "daily"))
    try:
        [found] = driver.list_snapshots()
        with pytest.raises(errors.InUse, match="a file system is mounted on it"):
            driver.manage_snapshot(binding)
    finally:
        run("umount", str(btrfs.top / "daily"))

    assert found.unsafe is Unsafe.IN_USE
    assert btrfs.snapshots() == {"daily"}


def test_snapshot_with_a_mount_on_it_through_another_mount_is_in_use(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    btrfs.add_snapshots("volume-1", "daily", "weekly")
    elsewhere = btrfs.folder / "other"
    elsewhere.mkdir()
    run("mount", "--bind", str(btrfs.top), str(elsewhere))
    run("mount", "-t", "tmpfs", "tmpfs", str(elsewhere / "daily"))
    try:
        unsafe = {found.name: found.unsafe for found in driver.list_snapshots()}
        with pytest.raises(errors.InUse):
            driver.renamer().rename("daily", "other")
    finally:
        run("umount", "--recursive", str(elsewhere))

    assert unsafe == {"daily": Unsafe.IN_USE, "weekly": None}
