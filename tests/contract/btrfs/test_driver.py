"""Behaviour of the driver that is special to btrfs: places, names, sizes, obstacles, and durable renames."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from snapmanage import crash, errors
from snapmanage.core.backend import BackendSnapshot, Binding, Unsafe, refuse_foreign, refuse_unsafe
from snapmanage.core.reference import Reference
from snapmanage.crash import Point
from snapmanage.drivers.btrfs import privileged
from snapmanage.drivers.btrfs.driver import BtrfsDriver
from snapmanage.drivers.system import privsep
from tests.contract.labs.btrfs import BtrfsLab
from tests.services.btrfs import Btrfs, mounted_btrfs, require_kernel, run

# Without the driver's care, about a tenth of the looks would find no object.
MANY_LOOKS = 3000
RENAME_TO_AND_FRO = """
import os, sys

os.chdir(sys.argv[1])
while True:
    os.rename("one", "other")
    os.rename("other", "one")
"""


class Killed(BaseException):
    """The death of a worker, which snapmanage never catches."""


@pytest.fixture
def btrfs(tmp_path: Path) -> Iterator[Btrfs]:
    require_kernel()
    privsep.start()
    with mounted_btrfs(tmp_path) as made:
        made.add_volume("volume-1")
        yield made


@pytest.fixture
def driver(btrfs: Btrfs) -> BtrfsDriver:
    return BtrfsDriver(str(btrfs.top))


@pytest.fixture
def binding(btrfs: Btrfs, driver: BtrfsDriver) -> Binding:
    """Make a snapshot `snapshots/daily` and return the binding to manage it."""
    (btrfs.top / "snapshots").mkdir()
    btrfs.add_snapshots("volume-1", "snapshots/daily")
    return bound(driver, "snapshots/daily")


def bound(driver: BtrfsDriver, name: str) -> Binding:
    return binding_of(driver, driver.find_snapshot(Reference.named(name)))


def binding_of(driver: BtrfsDriver, found: BackendSnapshot) -> Binding:
    return Binding(found.identity, found.name, driver.managed_name(found, f"snapshot-{uuid.uuid4()}"))


def snapshot_during_first_count(btrfs: Btrfs, driver: BtrfsDriver) -> BackendSnapshot:
    """Return a snapshot during the first count of quotas; retry where the count, of milliseconds, ended earlier."""
    for _ in range(50):
        btrfs.btrfs("quota", "enable", str(btrfs.top))
        [found] = driver.list_snapshots()
        if found.size_bytes == 0:
            return found
        btrfs.btrfs("quota", "disable", str(btrfs.top))
    raise AssertionError("quotas were always counted before the first listing")


def make_read_only(btrfs: Btrfs, name: str, value: str) -> None:
    btrfs.btrfs("property", "set", "-f", str(btrfs.top / name), "ro", value)


def listed(driver: BtrfsDriver) -> dict[str, str | None]:
    """Return the parent of each listed snapshot."""
    return {found.name: found.parent for found in driver.list_snapshots()}


# Snapshots and volumes.


def test_snapshots_are_found_in_folders_and_in_one_another(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    (btrfs.top / "a" / "b").mkdir(parents=True)
    btrfs.add_snapshots("volume-1", "here")
    btrfs.add_snapshots("volume-1", "a/b/writable", read_only=False)
    (btrfs.top / "a/b/writable/c").mkdir()
    btrfs.add_snapshots("here", "a/b/writable/c/inner")

    assert listed(driver) == {"here": "volume-1", "a/b/writable": "volume-1", "a/b/writable/c/inner": "here"}


def test_only_the_folder_is_listed_and_its_snapshots_show_volumes_elsewhere(btrfs: Btrfs) -> None:
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

    assert listed(driver) == {"weekly": "volume-1"}


def test_directory_is_neither_found_nor_renamed(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    (btrfs.top / "directory").mkdir()

    with pytest.raises(errors.SourceNotFound):
        driver.find_snapshot(Reference.named("directory"))
    with pytest.raises(errors.SourceNotFound):
        driver.rename("directory", "other")

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
        btrfs.receive(btrfs.sent(*increment, f"step-{number}"), "received")
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


# Names.


def test_name_with_a_line_break_does_not_pass_for_two(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    name = "daily\nID 999 gen 9 top level 5 path weekly"
    btrfs.add_snapshots("volume-1", name)

    assert list(listed(driver)) == [name]


def test_name_that_is_not_utf_8_is_listed_escaped_as_unusable_and_can_be_a_volume(
    btrfs: Btrfs, driver: BtrfsDriver
) -> None:
    nameless = os.fsdecode(b"\xff")
    btrfs.add_snapshots("volume-1", nameless, "\\xff")
    btrfs.add_snapshots(nameless, "of-the-nameless")

    assert listed(driver) == {"./\\xff": "volume-1", "\\xff": "volume-1", "of-the-nameless": "./\\xff"}
    found = driver.find_snapshot(Reference.named("./\\xff"))
    with pytest.raises(errors.Unusable, match="isn't UTF-8; rename it"):
        refuse_unsafe(found)
    assert driver.find_volume(Reference.named("./\\xff")).identity == found.identity


def test_path_that_is_too_long_for_the_kernel_is_listed_as_unusable(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    btrfs.add_deep_snapshots("volume-1", ".", (12, 18))

    shallow, deep = sorted(driver.list_snapshots(), key=lambda found: len(found.name))

    driver.manage_snapshot(bound(driver, shallow.name))
    assert len(deep.name) > 4095
    with pytest.raises(errors.Unusable, match="more than 4095 bytes"):
        refuse_unsafe(driver.find_snapshot(Reference.named(deep.name)))


def test_thousand_nested_subvolumes_do_not_break_the_listing(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    btrfs.add_nested_volumes(1100)
    btrfs.add_snapshots("volume-1", "daily")

    assert list(listed(driver)) == ["daily"]


@pytest.mark.parametrize("template", ["a/b", "x" * 256, "a\0b", "..", ""])
def test_error_for_an_illegal_name_names_the_template(driver: BtrfsDriver, binding: Binding, template: str) -> None:
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
    btrfs.btrfs("filesystem", "sync", str(btrfs.top))

    counting = snapshot_during_first_count(btrfs, driver)
    btrfs.btrfs("quota", "rescan", "-w", str(btrfs.top))
    btrfs.btrfs("filesystem", "sync", str(btrfs.top))
    [counted] = driver.list_snapshots()

    assert (counting.size_bytes, counting.unsafe, counting.extra["quotas"]) == (0, None, "being counted")
    assert (counted.size_bytes // 1024**2, "quotas" in counted.extra) == (1, False)
    assert counted.identity == counting.identity


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
    binding = bound(driver, "daily")
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
            driver.rename("daily", "other")
    finally:
        run("umount", "--recursive", str(elsewhere))

    assert unsafe == {"daily": Unsafe.IN_USE, "weekly": None}


# Obstacles.


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
    driver.manage_snapshot(bound(driver, "holder/inner"))


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
    assert set(listed(driver)) == {"daily", odd.name}
    with pytest.raises(errors.Unusable, match="btrfs scrub"):
        refuse_unsafe(odd)


# Renames.


# Renames.


def test_data_survive_a_manage_request(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    (btrfs.top / "volume-1" / "data").write_bytes(b"before")
    btrfs.add_snapshots("volume-1", "daily")
    (btrfs.top / "volume-1" / "data").write_bytes(b"after")
    binding = bound(driver, "daily")

    driver.manage_snapshot(binding)

    assert (btrfs.top / binding.managed_name / "data").read_bytes() == b"before"


def test_object_that_is_renamed_during_a_look_is_found_under_one_of_its_names(
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
    driver.rename(binding.original_name, binding.managed_name)
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


# The folder and its file system.


def test_folder_on_another_file_system_than_the_configured_one_is_unavailable(btrfs: Btrfs) -> None:
    own = run("findmnt", "--noheadings", "--output", "UUID", str(btrfs.top)).strip()

    BtrfsDriver(str(btrfs.top), own.upper()).check()
    with pytest.raises(errors.BackendUnavailable, match=own):
        BtrfsDriver(str(btrfs.top), str(uuid.uuid4())).list_snapshots()


def test_folder_that_is_not_on_a_btrfs_is_unavailable(btrfs: Btrfs) -> None:
    with pytest.raises(errors.BackendUnavailable, match="mounted"):
        BtrfsDriver("/proc/self").list_snapshots()


@pytest.mark.parametrize("folder", [None, "", "relative/folder"])
def test_error_for_a_folder_that_is_not_configured_names_the_option(folder: str | None) -> None:
    with pytest.raises(errors.ConfigurationError, match="btrfs_folder"):
        BtrfsDriver(folder).check()


def test_error_for_an_invalid_uuid_names_the_option(btrfs: Btrfs) -> None:
    with pytest.raises(errors.ConfigurationError, match="btrfs_uuid"):
        BtrfsDriver(str(btrfs.top), "mine").check()


def test_arguments_are_checked_on_the_privileged_side(btrfs: Btrfs, binding: Binding) -> None:
    top = str(btrfs.top)
    for old, new in (("../a", "../b"), ("/a", "/b"), ("a\0", "b"), ("snapshots/daily", "snapshots/.."), ("", "b")):
        with pytest.raises(errors.InvalidReference):
            privileged.rename_subvolume(top, "", old, new)
    with pytest.raises(errors.InvalidReference):
        privileged.sync_names(top, "", "../a")
    with pytest.raises(errors.ConfigurationError):
        privileged.subvolumes("relative", "", [])
