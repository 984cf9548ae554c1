"""Sizes of btrfs snapshots, as quotas count them."""

import os

from snapmanage.core.backend import BackendSnapshot
from snapmanage.drivers.btrfs.driver import BtrfsDriver
from snapmanage.testing.services.storage.btrfs import Btrfs


def snapshot_during_first_count(btrfs: Btrfs, driver: BtrfsDriver) -> BackendSnapshot:
    """List a snapshot during the first count of quotas; retry if the count had ended, since it takes milliseconds."""
    for _ in range(50):
        btrfs.btrfs("quota", "enable", str(btrfs.top))
        [found] = driver.list_snapshots()
        if found.size_bytes == 0:
            return found
        btrfs.btrfs("quota", "disable", str(btrfs.top))
    raise AssertionError("quotas were always counted before the first listing")


def test_size_is_the_count_of_quotas_and_unknown_without_them(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    (btrfs.top / "volume-1" / "data").write_bytes(os.urandom(1024**2))
    btrfs.add_snapshots("volume-1", "daily")

    [without] = driver.list_snapshots()
    btrfs.enable_quotas()
    [counted] = driver.list_snapshots()
    btrfs.btrfs("quota", "disable", str(btrfs.top))
    [disabled] = driver.list_snapshots()

    assert (without.size_bytes, counted.size_bytes // 1024**2, disabled.size_bytes) == (0, 1, 0)


def test_size_is_unknown_and_marked_so_during_the_first_count_of_quotas(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    (btrfs.top / "volume-1" / "data").write_bytes(os.urandom(1024**2))
    btrfs.add_snapshots("volume-1", "daily")
    for number in range(5000):  # the more extents there are, the longer the count takes
        (btrfs.top / f"file-{number}").write_bytes(bytes(4096))
    btrfs.btrfs("filesystem", "sync", str(btrfs.top))

    counting = snapshot_during_first_count(btrfs, driver)
    btrfs.btrfs("quota", "rescan", "-w", str(btrfs.top))
    btrfs.btrfs("filesystem", "sync", str(btrfs.top))
    [counted] = driver.list_snapshots()

    assert (counting.size_bytes, counting.unsafe, counting.extra["quotas"]) == (0, None, "being counted")
    assert (counted.size_bytes // 1024**2, "quotas" in counted.extra) == (1, False)
    assert counted.identity == counting.identity
