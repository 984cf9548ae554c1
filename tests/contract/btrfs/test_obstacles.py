"""Snapshots that btrfs could not rename are listed as unusable."""

import pytest

from snapmanage import errors
from snapmanage.core.backend import refuse_unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers.btrfs.driver import BtrfsDriver
from snapmanage.testing.services.storage.btrfs import Btrfs, run
from tests.contract.btrfs.helpers import bind, parents_by_name


def make_read_only(btrfs: Btrfs, name: str, value: str) -> None:
    btrfs.btrfs("property", "set", "-f", str(btrfs.top / name), "ro", value)


def test_snapshot_within_a_read_only_one_is_unusable_until_the_outer_one_is_writable(
    btrfs: Btrfs, driver: BtrfsDriver
) -> None:
    btrfs.add_snapshots("volume-1", "holder", read_only=False)
    btrfs.add_snapshots("volume-1", "holder/inner")
    make_read_only(btrfs, "holder", "true")

    refused = driver.find_snapshot(Reference.named("holder/inner"))
    make_read_only(btrfs, "holder", "false")

    with pytest.raises(errors.Unusable, match="read-only subvolume 'holder'"):
        refuse_unsafe(refused)
    driver.manage_snapshot(bind(driver, "holder/inner"))


def test_snapshots_on_a_read_only_mount_are_unusable(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    btrfs.add_snapshots("volume-1", "daily")
    run("mount", "-o", "remount,ro", str(btrfs.top))

    [found] = driver.list_snapshots()

    with pytest.raises(errors.Unusable, match="mounted read-only"):
        refuse_unsafe(found)


def test_snapshot_that_another_mount_hides_is_unusable(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    (btrfs.top / "folder").mkdir()
    btrfs.add_snapshots("volume-1", "folder/daily")
    run("mount", "-t", "tmpfs", "tmpfs", str(btrfs.top / "folder"))
    try:
        [found] = driver.list_snapshots()
    finally:
        run("umount", str(btrfs.top / "folder"))

    with pytest.raises(errors.Unusable, match="mounted on its folder 'folder'"):
        refuse_unsafe(found)


def test_damaged_subvolume_makes_the_snapshots_in_it_unusable_and_hides_no_other(
    btrfs: Btrfs, driver: BtrfsDriver
) -> None:
    btrfs.add_volume("damaged")
    (btrfs.top / "damaged/folder").mkdir()
    btrfs.add_snapshots("volume-1", "daily", "damaged/folder/weekly")
    found = driver.find_snapshot(Reference.named("damaged/folder/weekly"))
    btrfs.damage("damaged")

    [odd] = (each for each in driver.list_snapshots() if each.name != "daily")

    assert (odd.identity, odd.parent) == (found.identity, "volume-1")
    assert driver.find_snapshot(Reference.named(odd.name)) == odd
    assert set(parents_by_name(driver)) == {"daily", odd.name}
    with pytest.raises(errors.Unusable, match="btrfs scrub"):
        refuse_unsafe(odd)
