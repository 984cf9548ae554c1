"""The subvolumes that count as snapshots or volumes of btrfs, in any folder."""

from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import refuse_foreign
from snapmanage.core.reference import Reference
from snapmanage.drivers.btrfs.driver import BtrfsDriver
from snapmanage.testing.services.storage.btrfs import Btrfs
from tests.contract.btrfs.helpers import binding_of, parents_by_name
from tests.contract.labs.btrfs import BtrfsLab


def test_snapshots_are_found_in_folders_and_in_one_another(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    (btrfs.top / "a" / "b").mkdir(parents=True)
    btrfs.add_snapshots("volume-1", "here")
    btrfs.add_snapshots("volume-1", "a/b/writable", read_only=False)
    (btrfs.top / "a/b/writable/c").mkdir()
    btrfs.add_snapshots("here", "a/b/writable/c/inner")

    assert parents_by_name(driver) == {"here": "volume-1", "a/b/writable": "volume-1", "a/b/writable/c/inner": "here"}


def test_only_the_folder_is_listed_and_its_snapshots_show_volumes_elsewhere(btrfs: Btrfs) -> None:
    (btrfs.top / "snapshots").mkdir()
    (btrfs.top / "snapshots-of-others").mkdir()
    btrfs.add_snapshots("volume-1", "snapshots/daily", "snapshots-of-others/daily", "outside")
    driver = BtrfsDriver(str(btrfs.top / "snapshots"))

    assert parents_by_name(driver) == {"daily": "/volume-1"}
    with pytest.raises(errors.WrongVolume):
        refuse_foreign(driver.find_snapshot(Reference.named("daily")), "volume-2", None)


def test_folder_seen_through_a_mount_of_its_own_subvolume_has_the_same_names(btrfs: Btrfs) -> None:
    btrfs.add_volume("inner")
    btrfs.add_volume("inner/volume-2")
    btrfs.add_snapshots("inner/volume-2", "inner/daily")

    with btrfs.mounted("inner") as elsewhere:
        assert parents_by_name(BtrfsDriver(str(elsewhere))) == {"daily": "volume-2"}


def test_subvolume_of_the_folder_itself_can_be_a_volume_and_is_not_a_snapshot(
    btrfs: Btrfs, driver: BtrfsDriver
) -> None:
    btrfs.add_snapshots(".", "daily")

    volume = driver.find_volume(Reference.named("."))

    assert [(found.parent, found.parent_identity) for found in driver.list_snapshots()] == [(".", volume.identity)]
    with pytest.raises(errors.NotASnapshot):
        BtrfsDriver(str(btrfs.top / "daily")).find_snapshot(Reference.named("."))


def test_writable_snapshot_is_marked_and_can_be_a_volume(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    btrfs.add_snapshots("volume-1", "frozen")
    btrfs.add_snapshots("volume-1", "writable", read_only=False)

    assert {found.name: found.extra for found in driver.list_snapshots()} == {
        "frozen": {"read_only": "yes"},
        "writable": {"read_only": "no"},
    }
    assert driver.find_volume(Reference.named("writable")).name == "writable"


def test_snapshot_whose_volume_is_gone_is_listed_without_one(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    btrfs.add_snapshots("volume-1", "daily")
    btrfs.remove("volume-1")

    [found] = driver.list_snapshots()

    assert (found.name, found.parent, found.parent_identity) == ("daily", None, None)


def test_deleted_snapshot_that_is_not_cleaned_up_yet_is_not_listed(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    btrfs.add_snapshots("volume-1", "daily", "weekly")

    btrfs.remove("daily")

    assert parents_by_name(driver) == {"weekly": "volume-1"}


def test_directory_is_neither_found_nor_renamed(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    (btrfs.top / "directory").mkdir()

    with pytest.raises(errors.SourceNotFound):
        driver.find_snapshot(Reference.named("directory"))
    with pytest.raises(errors.SourceNotFound):
        driver.renamer().rename("directory", "other")

    assert (btrfs.top / "directory").is_dir()


def test_every_listed_parent_can_be_registered_and_every_safe_snapshot_managed_on_it(
    btrfs: Btrfs, tmp_path: Path
) -> None:
    lab = BtrfsLab(btrfs)
    lab.add_oddities()

    snapshots = lab.driver.list_snapshots()

    assert len({found.identity for found in snapshots}) == len({found.name for found in snapshots}) == len(snapshots)
    for found in snapshots:
        if found.parent is not None:
            volume = lab.driver.find_volume(Reference.named(found.parent))
            assert volume.identity == found.parent_identity
            refuse_foreign(found, volume.name, volume.identity)
    for found in snapshots:
        named = lab.driver.find_snapshot(Reference.named(found.name))
        assert (named.identity, named.unsafe, named.unsafe_reason) == (
            found.identity,
            found.unsafe,
            found.unsafe_reason,
        )
        if found.unsafe is None:
            lab.driver.manage_snapshot(binding_of(lab.driver, found))


def test_third_of_a_chain_of_received_increments_is_managed_on_the_second(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    (btrfs.top / "received").mkdir()
    for number in range(3):
        btrfs.add_snapshots("volume-1", f"step-{number}")
        increment = ["-p", str(btrfs.top / f"step-{number - 1}")] if number else []
        btrfs.receive(btrfs.send(*increment, f"step-{number}"), "received")
    third = driver.find_snapshot(Reference.named("received/step-2"))

    volume = driver.find_volume(Reference.named(third.parent or ""))

    refuse_foreign(third, volume.name, volume.identity)
    assert volume.name == "received/step-1"
    assert driver.manage_snapshot(binding_of(driver, third)).parent == "received/step-1"


def test_read_only_snapshot_is_a_volume_as_long_as_it_has_snapshots(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    btrfs.add_snapshots("volume-1", "frozen")
    btrfs.add_snapshots("frozen", "copy")

    volume = driver.find_volume(Reference.named("frozen"))
    btrfs.remove("copy")

    assert volume.identity == driver.find_snapshot(Reference.named("frozen")).identity
    with pytest.raises(errors.NotAVolume, match="without snapshots of its own"):
        driver.find_volume(Reference.named("frozen"))


def test_volume_outside_of_the_folder_can_be_registered_but_no_snapshot_there_is_found(btrfs: Btrfs) -> None:
    (btrfs.top / "snapshots").mkdir()
    btrfs.add_snapshots("volume-1", "snapshots/daily", "outside")
    driver = BtrfsDriver(str(btrfs.top / "snapshots"))

    volume = driver.find_volume(Reference.named("/volume-1"))

    assert driver.find_snapshot(Reference.named("daily")).parent_identity == volume.identity
    for name in ("/outside", "/snapshots/daily", "/absent"):
        with pytest.raises(errors.InvalidReference):
            driver.find_snapshot(Reference.named(name))
    for name in ("/absent", "/snapshots/daily"):
        with pytest.raises(errors.SourceNotFound):
            driver.find_volume(Reference.named(name))
