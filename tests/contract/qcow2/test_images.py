"""The files of a directory that are volumes and snapshots, even if a guest has written hostile data into them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import Unsafe, refuse_foreign
from snapmanage.core.reference import Reference
from snapmanage.drivers.qcow2.driver import Qcow2Driver
from snapmanage.drivers.system import commands
from snapmanage.testing.waiting import until
from tests.contract.qcow2.image_directory import SIZE, add_internal_snapshot, find
from tests.services.storage import qemu

SECRET = Path("/etc/hostname")


def test_shared_snapshot_belongs_to_each_volume_above_it_and_to_no_other(driver: Qcow2Driver, folder: Path) -> None:
    for name in ("one.qcow2", "two.qcow2"):
        qemu.create(folder / name, SIZE, "disk.qcow2")
    qemu.create(folder / "other.qcow2", SIZE)

    for volume in ("one.qcow2", "two.qcow2"):
        identity = driver.find_volume(Reference.named(volume)).identity
        refuse_foreign(find(driver, "disk.qcow2", volume), volume, identity)
    with pytest.raises(errors.WrongVolume):
        refuse_foreign(find(driver, "disk.qcow2", "other.qcow2"), "other.qcow2", None)
    assert find(driver, "disk.qcow2").parent is None


def test_listing_starts_no_process(driver: Qcow2Driver, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_internal_snapshot(folder, "daily")
    monkeypatch.setitem(commands.ENVIRONMENT, "PATH", "/nowhere")

    assert [each.name for each in driver.list_snapshots()] == ["disk.qcow2/1"]


def test_image_on_top_is_read_as_qcow2_only_if_its_name_matches_a_pattern(folder: Path) -> None:
    add_internal_snapshot(folder, "daily")
    (folder / "disk.qcow2").rename(folder / "disk")

    with pytest.raises(errors.NotAVolume, match="image_patterns"):
        Qcow2Driver(str(folder)).find_volume(Reference.named("disk"))
    with pytest.raises(errors.NotASnapshot, match="image_patterns"):
        find(Qcow2Driver(str(folder)), "disk/1")
    assert Qcow2Driver(str(folder)).list_snapshots() == []
    assert find(Qcow2Driver(str(folder), ["vm-*", "disk"]), "disk/1").parent == "disk"


def test_backing_file_is_read_in_the_recorded_format_whatever_its_name(driver: Qcow2Driver, folder: Path) -> None:
    (folder / "disk.qcow2").rename(folder / "base")
    add_internal_snapshot(folder, "daily", "base")
    qemu.create(folder / "top.qcow2", SIZE, "base")

    assert {each.name for each in driver.list_snapshots()} == {"base", "base/1"}


def test_qcow2_header_that_a_guest_writes_into_a_raw_disk_is_ignored(driver: Qcow2Driver, folder: Path) -> None:
    """If the format were probed, the overlay of the raw disk would show a file that the guest chose."""
    qemu.create(folder / "hostile", SIZE, str(SECRET), "raw", "-u")
    (folder / "raw.img").write_bytes((folder / "hostile").read_bytes())
    (folder / "hostile").unlink()
    qemu.create(folder / "top.qcow2", SIZE, "raw.img", "raw")

    [seen] = driver.list_snapshots()

    assert (seen.name, seen.unsafe, seen.extra["format"]) == ("raw.img", None, "raw")
    assert seen.size_bytes == (folder / "raw.img").stat().st_size


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink(SECRET, path)])
def test_entry_that_is_not_a_regular_file_is_neither_listed_nor_followed(
    driver: Qcow2Driver, folder: Path, make: Callable[[Path], None]
) -> None:
    make(folder / "odd.qcow2")
    make(folder / "below")
    qemu.create(folder / "top.qcow2", SIZE, "below", "raw", "-u")
    qemu.create(folder / "highest.qcow2", SIZE, "top.qcow2", "qcow2", "-u")

    [seen] = driver.list_snapshots()

    assert (seen.name, seen.unsafe) == ("top.qcow2", Unsafe.UNUSABLE)
    assert "a regular file" in seen.unsafe_reason
    for name in ("odd.qcow2", "below", "odd.qcow2/1"):
        with pytest.raises(errors.NotASnapshot, match="a regular file"):
            find(driver, name)
    with pytest.raises(errors.NotAVolume, match="a regular file"):
        driver.find_volume(Reference.named("odd.qcow2"))


@pytest.mark.parametrize("recorded", [str(SECRET), "../images/disk.qcow2", 'json:{"driver":"null-co"}', "nbd:h:1"])
def test_image_with_a_backing_file_outside_the_directory_is_listed_as_unusable(
    driver: Qcow2Driver, folder: Path, recorded: str
) -> None:
    add_internal_snapshot(folder, "daily")
    qemu.qemu_img("rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", recorded, folder / "disk.qcow2")

    [seen] = driver.list_snapshots()

    assert seen.unsafe is Unsafe.UNUSABLE
    assert repr(recorded) in seen.unsafe_reason
    with pytest.raises(errors.NotAVolume, match="backing file"):
        driver.find_volume(Reference.named("disk.qcow2"))


def test_hidden_files_and_names_that_are_not_utf_8_are_not_listed(driver: Qcow2Driver, folder: Path) -> None:
    add_internal_snapshot(folder, "daily")
    for name in (b".hidden.qcow2", b"\xff.qcow2"):
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes((folder / "disk.qcow2").read_bytes())

    assert [each.name for each in driver.list_snapshots()] == ["disk.qcow2/1"]


def test_new_file_with_a_reused_inode_number_has_another_identity(driver: Qcow2Driver, folder: Path) -> None:
    qemu.create(folder / "top.qcow2", SIZE, "disk.qcow2")
    before = find(driver, "disk.qcow2").identity

    def has_another_identity() -> bool:
        content = (folder / "disk.qcow2").read_bytes()
        (folder / "disk.qcow2").unlink()
        (folder / "disk.qcow2").write_bytes(content)
        return find(driver, "disk.qcow2").identity != before

    until(has_another_identity, "the file system's clock to advance")


def test_image_that_cannot_be_read_is_logged_and_the_others_are_listed(
    driver: Qcow2Driver, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add_internal_snapshot(folder, "daily")
    (folder / "broken.qcow2").write_bytes(b"QFI\xfb")

    assert [each.name for each in driver.list_snapshots()] == ["disk.qcow2/1"]

    assert 'first=broken.qcow2 reason="it ends within its header' in caplog.text
    with pytest.raises(errors.NotAVolume, match="within its header"):
        driver.find_volume(Reference.named("broken.qcow2"))
    with pytest.raises(errors.NotASnapshot, match="within its header"):
        find(driver, "broken.qcow2/1")
