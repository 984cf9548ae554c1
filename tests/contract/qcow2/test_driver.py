"""The qcow2 driver without its renames: internal snapshots, hostile images and configuration."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding, Unsafe, refuse_foreign, refuse_unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers.qcow2.driver import Qcow2Driver
from snapmanage.drivers.system import commands
from tests.needs import require
from tests.services import qemu
from tests.waiting import until

SIZE = 1024**2
SECRET = Path("/etc/hostname")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    require(*qemu.PROGRAMS)
    images = tmp_path / "images"
    images.mkdir()
    qemu.create(images / "disk.qcow2", SIZE)
    return images


@pytest.fixture
def driver(folder: Path) -> Qcow2Driver:
    return Qcow2Driver(str(folder))


def add_internal_snapshot(folder: Path, name: str, image: str = "disk.qcow2") -> None:
    qemu.qemu_img("snapshot", "-c", name, folder / image)


def find(driver: Qcow2Driver, name: str, volume: str | None = None) -> BackendSnapshot:
    return driver.find_snapshot(Reference.named(name), volume)


def bound(driver: Qcow2Driver, name: str) -> Binding:
    found = find(driver, name)
    return Binding(found.identity, name, driver.managed_name(found, f"snapshot-{uuid.uuid4()}"))


# Inside of images.


def test_internal_snapshots_are_listed_by_id_with_their_names_in_extra(driver: Qcow2Driver, folder: Path) -> None:
    for name in ("daily", "daily", "weekly"):
        add_internal_snapshot(folder, name)
    volume = driver.find_volume(Reference.named("disk.qcow2"))

    listed = driver.list_snapshots()

    assert [(each.name, each.extra["internal_name"]) for each in listed] == [
        ("disk.qcow2/1", "daily"),
        ("disk.qcow2/2", "daily"),
        ("disk.qcow2/3", "weekly"),
    ]
    assert {(each.parent, each.parent_identity, each.size_bytes) for each in listed} == {
        ("disk.qcow2", volume.identity, SIZE)
    }
    assert [find(driver, each.name) for each in listed] == listed


def test_internal_snapshot_keeps_the_size_that_it_was_taken_with(driver: Qcow2Driver, folder: Path) -> None:
    add_internal_snapshot(folder, "small")
    qemu.qemu_img("resize", "-q", "-f", "qcow2", folder / "disk.qcow2", str(4 * SIZE))

    assert find(driver, "disk.qcow2/1").size_bytes == SIZE
    assert driver.find_volume(Reference.named("disk.qcow2")).size_bytes == 4 * SIZE


def test_managing_an_internal_snapshot_changes_nothing_on_the_backend(driver: Qcow2Driver, folder: Path) -> None:
    add_internal_snapshot(folder, "daily")
    before = (folder / "disk.qcow2").read_bytes()
    binding = bound(driver, "disk.qcow2/1")

    managed = driver.manage_snapshot(binding)
    again = driver.manage_snapshot(binding)
    driver.unmanage_snapshot(binding)
    driver.unmanage_snapshot(binding)

    assert binding.managed_name == binding.original_name == managed.name
    assert managed == again == find(driver, "disk.qcow2/1")
    assert (folder / "disk.qcow2").read_bytes() == before


def test_internal_snapshot_that_is_gone_is_not_found(driver: Qcow2Driver, folder: Path) -> None:
    add_internal_snapshot(folder, "daily")
    binding = bound(driver, "disk.qcow2/1")
    qemu.qemu_img("snapshot", "-d", "daily", folder / "disk.qcow2")

    with pytest.raises(errors.SourceNotFound, match="gone"):
        driver.manage_snapshot(binding)
    driver.unmanage_snapshot(binding)
    with pytest.raises(errors.SourceNotFound, match="no snapshot with the ID '1'"):
        find(driver, "disk.qcow2/1")


def test_later_snapshot_with_the_same_id_has_another_identity(driver: Qcow2Driver, folder: Path) -> None:
    add_internal_snapshot(folder, "daily")
    binding = bound(driver, "disk.qcow2/1")
    qemu.qemu_img("snapshot", "-d", "daily", folder / "disk.qcow2")
    add_internal_snapshot(folder, "daily")

    assert find(driver, "disk.qcow2/1").identity != binding.identity
    with pytest.raises(errors.SourceNotFound, match="another snapshot"):
        driver.manage_snapshot(binding)


def test_internal_snapshot_is_not_found_by_its_name(driver: Qcow2Driver, folder: Path) -> None:
    add_internal_snapshot(folder, "daily")

    with pytest.raises(errors.SourceNotFound, match="qemu-img snapshot -l"):
        find(driver, "disk.qcow2/daily")


def test_internal_snapshot_is_refused_for_another_volume_and_as_a_volume(driver: Qcow2Driver, folder: Path) -> None:
    add_internal_snapshot(folder, "daily")
    qemu.create(folder / "other.qcow2", SIZE)

    with pytest.raises(errors.WrongVolume):
        refuse_foreign(find(driver, "disk.qcow2/1", "other.qcow2"), "other.qcow2", None)
    with pytest.raises(errors.NotAVolume, match="is a snapshot inside"):
        driver.find_volume(Reference.named("disk.qcow2/1"))


def test_internal_snapshot_is_in_use_while_its_image_is_in_use(driver: Qcow2Driver, folder: Path) -> None:
    add_internal_snapshot(folder, "daily")

    with qemu.held_open(folder / "disk.qcow2"), pytest.raises(errors.InUse):
        refuse_unsafe(find(driver, "disk.qcow2/1"))

    refuse_unsafe(find(driver, "disk.qcow2/1"))


def test_internal_snapshot_keeps_its_identity_after_its_file_is_managed(driver: Qcow2Driver, folder: Path) -> None:
    add_internal_snapshot(folder, "daily")
    qemu.create(folder / "top.qcow2", SIZE, "disk.qcow2")
    before = find(driver, "disk.qcow2/1")
    binding = bound(driver, "disk.qcow2")

    driver.manage_snapshot(binding)

    after = find(driver, f"{binding.managed_name}/1")
    assert (before.identity, before.parent) == (after.identity, "top.qcow2")


def test_internal_snapshot_is_managed_even_if_its_file_was_renamed_in_between(
    driver: Qcow2Driver, folder: Path
) -> None:
    add_internal_snapshot(folder, "daily")
    qemu.create(folder / "top.qcow2", SIZE, "disk.qcow2")
    inside, outside = bound(driver, "disk.qcow2/1"), bound(driver, "disk.qcow2")
    driver.manage_snapshot(outside)

    managed = driver.manage_snapshot(inside)
    driver.unmanage_snapshot(inside)

    assert (managed.identity, managed.name) == (inside.identity, f"{outside.managed_name}/1")


def test_internal_snapshot_keeps_its_data_after_its_file_is_managed(driver: Qcow2Driver, folder: Path) -> None:
    qemu.qemu_io(folder / "disk.qcow2", "write -P 7 0 4096")
    add_internal_snapshot(folder, "daily")
    qemu.qemu_io(folder / "disk.qcow2", "write -P 8 0 4096")
    qemu.create(folder / "top.qcow2", SIZE, "disk.qcow2")
    binding = bound(driver, "disk.qcow2")

    driver.manage_snapshot(binding)

    command = ["convert", "-f", "qcow2", "-O", "raw", "-l", "snapshot.id=1"]
    qemu.qemu_img(*command, folder / binding.managed_name, folder / "copy.raw")
    assert (folder / "copy.raw").read_bytes()[:4096] == b"\7" * 4096
    qemu.qemu_img("check", "-q", "-f", "qcow2", folder / binding.managed_name)


# Several volumes.


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


# What counts as an image.


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

    assert "first='broken.qcow2' reason=it ends within its header" in caplog.text
    with pytest.raises(errors.NotAVolume, match="within its header"):
        driver.find_volume(Reference.named("broken.qcow2"))
    with pytest.raises(errors.NotASnapshot, match="within its header"):
        find(driver, "broken.qcow2/1")


# Configuration.


@pytest.mark.parametrize("directory", [None, "images", "./images"])
def test_directory_that_is_not_an_absolute_path_is_an_error_with_the_remedy(directory: str | None) -> None:
    with pytest.raises(errors.ConfigurationError, match="absolute path"):
        Qcow2Driver(directory).check()


def test_managed_name_keeps_the_extension_of_the_file(driver: Qcow2Driver, folder: Path) -> None:
    qemu.create(folder / "top.qcow2", SIZE, "disk.qcow2")

    assert driver.managed_name(find(driver, "disk.qcow2"), "snapshot-1") == "snapshot-1.qcow2"


@pytest.mark.parametrize("template", ["a/b", "x" * 240, "a\0b", ".hidden"])
def test_template_that_makes_no_file_name_is_a_configuration_error(
    driver: Qcow2Driver, folder: Path, template: str
) -> None:
    qemu.create(folder / "top.qcow2", SIZE, "disk.qcow2")

    with pytest.raises(errors.ConfigurationError, match="snapshot_name_template"):
        driver.managed_name(find(driver, "disk.qcow2"), template)


def test_name_too_long_to_be_restored_is_refused_with_the_remedy(driver: Qcow2Driver, folder: Path) -> None:
    name = "x" * 238
    (folder / "disk.qcow2").rename(folder / name)
    qemu.create(folder / "top.qcow2", SIZE, name)

    with pytest.raises(errors.InvalidReference, match="rename it to at most 237 bytes"):
        driver.managed_name(find(driver, name), "snapshot-1")
