"""What is btrfs's own: where snapshots lie and what they are called, what a size is, and how a rename lasts."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from snapmanage import crash, errors
from snapmanage.core.backend import Binding, Unsafe, refuse_foreign
from snapmanage.core.reference import Reference
from snapmanage.crash import Point
from snapmanage.drivers import privileged
from snapmanage.drivers.btrfs import BtrfsDriver
from tests.services.btrfs import Btrfs, mounted_btrfs, require_kernel, run

# Of so many looks, about a tenth would see nothing if they didn't take care.
MANY_LOOKS = 3000
RENAME_TO_AND_FRO = """
import os, sys

os.chdir(sys.argv[1])
while True:
    os.rename("one", "other")
    os.rename("other", "one")
"""


class Killed(BaseException):
    """The worker's end, which nothing in the product catches."""


@pytest.fixture
def btrfs(tmp_path: Path) -> Iterator[Btrfs]:
    require_kernel()
    privileged.start()
    with mounted_btrfs(tmp_path) as made:
        made.add_volume("volume-1")
        yield made


@pytest.fixture
def driver(btrfs: Btrfs) -> BtrfsDriver:
    return BtrfsDriver(str(btrfs.top))


@pytest.fixture
def binding(btrfs: Btrfs, driver: BtrfsDriver) -> Binding:
    """A snapshot `snapshots/daily` that is to be managed."""
    (btrfs.top / "snapshots").mkdir()
    btrfs.add_snapshots("volume-1", "snapshots/daily")
    return bound(driver, "snapshots/daily")


def bound(driver: BtrfsDriver, name: str) -> Binding:
    found = driver.find_snapshot(Reference.named(name))
    return Binding(found.identity, name, driver.managed_name(found, f"snapshot-{uuid.uuid4()}"))


def listed(driver: BtrfsDriver) -> dict[str, str | None]:
    """The parent of each snapshot."""
    return {found.name: found.parent for found in driver.list_snapshots()}


# What a snapshot is.


def test_snapshots_are_found_in_folders_and_in_one_another(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    (btrfs.top / "a" / "b").mkdir(parents=True)
    btrfs.add_snapshots("volume-1", "here")
    btrfs.add_snapshots("volume-1", "a/b/writable", read_only=False)
    (btrfs.top / "a/b/writable/c").mkdir()
    btrfs.add_snapshots("here", "a/b/writable/c/inner")

    assert listed(driver) == {"here": "volume-1", "a/b/writable": "volume-1", "a/b/writable/c/inner": "here"}


def test_folder_is_all_that_is_looked_at_and_its_snapshots_know_volumes_elsewhere(btrfs: Btrfs) -> None:
    (btrfs.top / "snapshots").mkdir()
    (btrfs.top / "snapshots-of-others").mkdir()
    btrfs.add_snapshots("volume-1", "snapshots/daily", "snapshots-of-others/daily", "outside")
    driver = BtrfsDriver(str(btrfs.top / "snapshots"))

    assert listed(driver) == {"daily": "/volume-1"}
    with pytest.raises(errors.WrongVolume):
        refuse_foreign(driver.find_snapshot(Reference.named("daily")), "volume-2", None)


def test_folder_seen_through_a_mount_of_its_own_subvolume_has_the_same_names(btrfs: Btrfs) -> None:
    btrfs.add_volume("inner")
    btrfs.add_volume("inner/volume-2")
    btrfs.add_snapshots("inner/volume-2", "inner/daily")

    with btrfs.mounted("inner") as elsewhere:
        assert listed(BtrfsDriver(str(elsewhere))) == {"daily": "volume-2"}


def test_subvolume_that_the_folder_is_may_be_a_volume_and_is_no_snapshot(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    btrfs.add_snapshots(".", "daily")

    volume = driver.find_volume(Reference.named("."))

    assert [(found.parent, found.parent_identity) for found in driver.list_snapshots()] == [(".", volume.identity)]
    with pytest.raises(errors.NotASnapshot):
        BtrfsDriver(str(btrfs.top / "daily")).find_snapshot(Reference.named("."))


def test_writable_snapshot_is_told_apart_and_can_be_a_volume(btrfs: Btrfs, driver: BtrfsDriver) -> None:
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


def test_what_is_deleted_and_not_cleaned_away_yet_is_not_listed(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    btrfs.add_snapshots("volume-1", "daily", "weekly")

    btrfs.remove("daily")

    assert listed(driver) == {"weekly": "volume-1"}


def test_directory_is_neither_found_nor_renamed(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    (btrfs.top / "directory").mkdir()

    with pytest.raises(errors.SourceNotFound):
        driver.find_snapshot(Reference.named("directory"))
    with pytest.raises(errors.SourceNotFound):
        driver.rename("directory", "other")

    assert (btrfs.top / "directory").is_dir()


# Names.


def test_line_break_in_a_name_makes_no_second_snapshot(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    name = "daily\nID 999 gen 9 top level 5 path weekly"
    btrfs.add_snapshots("volume-1", name)

    assert list(listed(driver)) == [name]


def test_name_that_is_no_text_is_left_out_and_is_told_of_as_a_parent(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    btrfs.add_snapshots("volume-1", os.fsdecode(b"\xff"), "daily")
    btrfs.add_snapshots(os.fsdecode(b"\xff"), "of-the-nameless")

    assert listed(driver) == {"daily": "volume-1", "of-the-nameless": "/\\xff"}


@pytest.mark.parametrize("template", ["a/b", "x" * 256, "a\0b", "..", ""])
def test_template_that_makes_no_name_is_the_operators_to_mend(
    driver: BtrfsDriver, binding: Binding, template: str
) -> None:
    found = driver.find_snapshot(Reference.named(binding.original_name))

    with pytest.raises(errors.ConfigurationError, match="snapshot_name_template"):
        driver.managed_name(found, template)


def test_snapshot_stays_in_its_folder(driver: BtrfsDriver, binding: Binding) -> None:
    with pytest.raises(errors.InvalidReference, match="stays in its folder"):
        driver.rename("snapshots/daily", "daily")

    assert binding.managed_name.startswith("snapshots/snapshot-")


def test_symbolic_link_on_the_way_is_not_followed(btrfs: Btrfs, driver: BtrfsDriver, binding: Binding) -> None:
    (btrfs.top / "link").symlink_to("snapshots")

    with pytest.raises(errors.InvalidReference, match="symbolic link"):
        driver.rename("link/daily", "link/other")


def test_mount_on_the_way_is_not_crossed(btrfs: Btrfs, driver: BtrfsDriver, binding: Binding) -> None:
    (btrfs.top / "bound").mkdir()
    run("mount", "--bind", str(btrfs.top / "snapshots"), str(btrfs.top / "bound"))
    try:
        with pytest.raises(errors.InvalidReference, match="another mount"):
            driver.rename("bound/daily", "bound/other")
    finally:
        run("umount", str(btrfs.top / "bound"))


# Sizes.


def test_size_is_what_quotas_count_and_unknown_without(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    (btrfs.top / "volume-1" / "data").write_bytes(os.urandom(1024**2))
    btrfs.add_snapshots("volume-1", "daily")

    [without] = driver.list_snapshots()
    btrfs.enable_quotas()
    [counted] = driver.list_snapshots()
    btrfs.btrfs("quota", "disable", str(btrfs.top))
    [disabled] = driver.list_snapshots()

    assert (without.size_bytes, counted.size_bytes // 1024**2, disabled.size_bytes) == (0, 1, 0)


# In use.


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


def test_what_is_mounted_of_another_file_system_is_no_part_of_a_snapshot(btrfs: Btrfs, driver: BtrfsDriver) -> None:
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


def test_snapshot_with_something_mounted_on_it_is_not_renamed(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    btrfs.add_snapshots("volume-1", "daily")
    binding = bound(driver, "daily")
    run("mount", "-t", "tmpfs", "tmpfs", str(btrfs.top / "daily"))
    try:
        with pytest.raises(errors.SnapmanageError):
            driver.manage_snapshot(binding)
    finally:
        run("umount", str(btrfs.top / "daily"))

    assert btrfs.snapshots() == {"daily"}


# Renaming.


def test_data_are_the_same_through_managing(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    (btrfs.top / "volume-1" / "data").write_bytes(b"before")
    btrfs.add_snapshots("volume-1", "daily")
    (btrfs.top / "volume-1" / "data").write_bytes(b"after")
    binding = bound(driver, "daily")

    driver.manage_snapshot(binding)

    assert (btrfs.top / binding.managed_name / "data").read_bytes() == b"before"


def test_object_that_is_renamed_while_it_is_looked_for_is_seen_under_one_of_its_names(
    btrfs: Btrfs, driver: BtrfsDriver
) -> None:
    btrfs.add_snapshots("volume-1", "one")

    with subprocess.Popen([sys.executable, "-c", RENAME_TO_AND_FRO, str(btrfs.top)]) as renaming:
        try:
            looks = [driver.look("one", "other") for _ in range(MANY_LOOKS)]
            assert renaming.poll() is None
        finally:
            renaming.kill()

    assert [look for look in looks if len(look) != 1] == []


def test_worker_killed_before_the_name_is_on_the_disk_leaves_it_to_the_next(
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


def test_new_name_outlives_a_power_failure(btrfs: Btrfs, driver: BtrfsDriver, binding: Binding) -> None:
    driver.manage_snapshot(binding)

    assert Path(binding.managed_name).name in btrfs.on_disk()


def test_name_that_a_killed_worker_gave_outlives_a_power_failure_once_it_is_reported(
    btrfs: Btrfs, driver: BtrfsDriver, binding: Binding
) -> None:
    driver.rename(binding.original_name, binding.managed_name)
    assert Path(binding.managed_name).name not in btrfs.on_disk()

    driver.manage_snapshot(binding)

    assert Path(binding.managed_name).name in btrfs.on_disk()


def test_giving_back_what_is_gone_with_its_folder_is_done(btrfs: Btrfs, driver: BtrfsDriver, binding: Binding) -> None:
    driver.manage_snapshot(binding)
    btrfs.remove(binding.managed_name)
    (btrfs.top / "snapshots").rmdir()

    driver.unmanage_snapshot(binding)

    assert btrfs.snapshots() == set()


# The folder and its file system.


def test_folder_on_another_file_system_than_the_configured_one_is_away(btrfs: Btrfs) -> None:
    own = run("findmnt", "--noheadings", "--output", "UUID", str(btrfs.top)).strip()

    BtrfsDriver(str(btrfs.top), own.upper()).check()
    with pytest.raises(errors.BackendUnavailable, match=own):
        BtrfsDriver(str(btrfs.top), str(uuid.uuid4())).list_snapshots()


def test_folder_that_is_not_on_a_btrfs_is_away(btrfs: Btrfs) -> None:
    with pytest.raises(errors.BackendUnavailable, match="mounted"):
        BtrfsDriver("/proc/self").list_snapshots()


@pytest.mark.parametrize("folder", [None, "", "relative/folder"])
def test_folder_that_is_not_configured_is_told_with_the_remedy(folder: str | None) -> None:
    with pytest.raises(errors.ConfigurationError, match="btrfs_folder"):
        BtrfsDriver(folder).check()


def test_uuid_that_is_none_is_told_with_the_remedy(btrfs: Btrfs) -> None:
    with pytest.raises(errors.ConfigurationError, match="btrfs_uuid"):
        BtrfsDriver(str(btrfs.top), "mine").check()


def test_arguments_are_checked_on_the_privileged_side(btrfs: Btrfs, binding: Binding) -> None:
    top = str(btrfs.top)
    for old, new in (("../a", "../b"), ("/a", "/b"), ("a\0", "b"), ("snapshots/daily", "snapshots/.."), ("", "b")):
        with pytest.raises(errors.InvalidReference):
            privileged.rename_subvolume(top, "", old, new)
    with pytest.raises(errors.InvalidReference):
        privileged.keep_names(top, "", "../a")
    with pytest.raises(errors.ConfigurationError):
        privileged.subvolumes("relative", "", [])
