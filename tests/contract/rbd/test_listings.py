"""Snapshots of groups, of clones, in the trash, and of changing images: listings and refusals."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from snapmanage import errors
from snapmanage.core.backend import Unsafe
from snapmanage.drivers.rbd.driver import RbdDriver
from snapmanage.drivers.rbd.pool import Pool
from snapmanage.drivers.rbd.unreadable import ImageEntry
from tests.contract.labs.rbd import RbdLab
from tests.contract.rbd.helpers import DAILY, MANAGED, bind, clone, find


def test_snapshot_of_a_group_is_listed_unsafe_with_the_reason(lab: RbdLab, driver: RbdDriver) -> None:
    name = lab.add_unusable("group")

    assert {listed.name: listed.unsafe for listed in driver.list_snapshots()} == {DAILY: None, name: Unsafe.UNUSABLE}
    assert "group" in find(driver, name).unsafe_reason


def test_snapshot_in_the_trash_is_listed_unsafe_and_found_by_its_old_name(lab: RbdLab, driver: RbdDriver) -> None:
    clone(lab, "daily", version=2)
    lab.remove(DAILY)

    found = find(driver)

    assert driver.list_snapshots() == [found]
    assert (found.unsafe, "trash" in found.unsafe_reason) == (Unsafe.UNUSABLE, True)


def test_snapshot_with_clones_and_a_writer_is_managed_and_unmanaged(lab: RbdLab, driver: RbdDriver) -> None:
    clone(lab, "daily", version=2)
    binding = bind(driver)

    with lab.image() as writer:
        writer.write(b"data", 0)
        assert writer.is_exclusive_lock_owner()
        driver.manage_snapshot(binding)
        managed = lab.names()
        driver.unmanage_snapshot(binding)

    assert managed == {MANAGED}
    assert lab.names() == {DAILY}


def test_managed_snapshot_is_found_after_its_image_was_renamed(lab: RbdLab, driver: RbdDriver) -> None:
    binding = bind(driver)
    driver.manage_snapshot(binding)
    lab.rbd.RBD().rename(lab.ioctx, "image-1", "renamed")

    managed = driver.manage_snapshot(binding)
    driver.unmanage_snapshot(binding)

    assert managed.name == "renamed@snapshot-1"
    assert lab.names() == {"renamed@daily"}


def test_snapshot_whose_image_is_gone_is_unmanaged_but_not_managed(lab: RbdLab, driver: RbdDriver) -> None:
    binding = bind(driver)
    lab.remove(DAILY)
    lab.rbd.RBD().remove(lab.ioctx, "image-1")

    driver.unmanage_snapshot(binding)

    with pytest.raises(errors.SourceNotFound):
        driver.manage_snapshot(binding)


def test_image_that_is_removed_during_a_listing_is_omitted(
    lab: RbdLab, driver: RbdDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, gone = Pool.images, [ImageEntry("gone", "abc", b"gone")]
    # The first read of the directory still has the image.
    monkeypatch.setattr(Pool, "images", lambda pool: [*(gone.pop() for _ in gone[:]), *images(pool)])

    assert [listed.name for listed in driver.list_snapshots()] == [DAILY]


def test_listing_has_the_snapshots_of_hundreds_of_images(lab: RbdLab, driver: RbdDriver) -> None:
    def add(number: int) -> None:
        lab.write_snapshots(lab.add_volume(f"many-{number}"), "daily")

    with ThreadPoolExecutor(8) as makers:
        list(makers.map(add, range(499)))

    assert len({listed.name for listed in driver.list_snapshots()}) == 500
