"""What is the qcow2 driver's own beside renaming: snapshots inside of images, and directories that mean harm."""

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


def snap(folder: Path, name: str, image: str = "disk.qcow2") -> None:
    qemu.qemu_img("snapshot", "-c", name, folder / image)


def find(driver: Qcow2Driver, name: str, volume: str | None = None) -> BackendSnapshot:
    return driver.find_snapshot(Reference.named(name), volume)


def bound(driver: Qcow2Driver, name: str) -> Binding:
    found = find(driver, name)
    return Binding(found.identity, name, driver.managed_name(found, f"snapshot-{uuid.uuid4()}"))


# Inside of images.


def test_internal_snapshots_are_listed_by_id_with_their_names_beside(driver: Qcow2Driver, folder: Path) -> None:
    for name in ("daily", "daily", "weekly"):
        snap(folder, name)
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
    snap(folder, "small")
    qemu.qemu_img("resize", "-q", "-f", "qcow2", folder / "disk.qcow2", str(4 * SIZE))

    assert find(driver, "disk.qcow2/1").size_bytes == SIZE
    assert driver.find_volume(Reference.named("disk.qcow2")).size_bytes == 4 * SIZE


def test_managing_an_internal_snapshot_changes_nothing_on_the_backend(driver: Qcow2Driver, folder: Path) -> None:
    snap(folder, "daily")
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
    snap(folder, "daily")
    binding = bound(driver, "disk.qcow2/1")
    qemu.qemu_img("snapshot", "-d", "daily", folder / "disk.qcow2")

    with pytest.raises(errors.SourceNotFound, match="gone"):
        driver.manage_snapshot(binding)
    driver.unmanage_snapshot(binding)
    with pytest.raises(errors.SourceNotFound, match="no snapshot of the id '1'"):
        find(driver, "disk.qcow2/1")


def test_later_snapshot_that_is_given_the_same_id_is_another_one(driver: Qcow2Driver, folder: Path) -> None:
    snap(folder, "daily")
    binding = bound(driver, "disk.qcow2/1")
    qemu.qemu_img("snapshot", "-d", "daily", folder / "disk.qcow2")
    snap(folder, "daily")

    assert find(driver, "disk.qcow2/1").identity != binding.identity
    with pytest.raises(errors.SourceNotFound, match="another snapshot"):
        driver.manage_snapshot(binding)


def test_name_of_an_internal_snapshot_is_no_id(driver: Qcow2Driver, folder: Path) -> None:
    snap(folder, "daily")

    with pytest.raises(errors.SourceNotFound, match="qemu-img snapshot -l"):
        find(driver, "disk.qcow2/daily")


def test_internal_snapshot_is_another_volumes_or_none(driver: Qcow2Driver, folder: Path) -> None:
    snap(folder, "daily")
    qemu.create(folder / "other.qcow2", SIZE)

    with pytest.raises(errors.WrongVolume):
        refuse_foreign(find(driver, "disk.qcow2/1", "other.qcow2"), "other.qcow2", None)
    with pytest.raises(errors.NotAVolume, match="inside of"):
        driver.find_volume(Reference.named("disk.qcow2/1"))


def test_internal_snapshots_of_an_image_in_use_are_in_use(driver: Qcow2Driver, folder: Path) -> None:
    snap(folder, "daily")

    with qemu.held_open(folder / "disk.qcow2"), pytest.raises(errors.InUse):
        refuse_unsafe(find(driver, "disk.qcow2/1"))

    refuse_unsafe(find(driver, "disk.qcow2/1"))


def test_internal_snapshot_keeps_its_identity_when_its_file_is_managed(driver: Qcow2Driver, folder: Path) -> None:
    snap(folder, "daily")
    qemu.create(folder / "top.qcow2", SIZE, "disk.qcow2")
    before = find(driver, "disk.qcow2/1")
    binding = bound(driver, "disk.qcow2")

    driver.manage_snapshot(binding)

    after = find(driver, f"{binding.managed_name}/1")
    assert (before.identity, before.parent) == (after.identity, "top.qcow2")


def test_internal_snapshot_is_managed_though_its_file_was_renamed_since_it_was_found(
    driver: Qcow2Driver, folder: Path
) -> None:
    snap(folder, "daily")
    qemu.create(folder / "top.qcow2", SIZE, "disk.qcow2")
    inside, outside = bound(driver, "disk.qcow2/1"), bound(driver, "disk.qcow2")
    driver.manage_snapshot(outside)

    managed = driver.manage_snapshot(inside)
    driver.unmanage_snapshot(inside)

    assert (managed.identity, managed.name) == (inside.identity, f"{outside.managed_name}/1")


def test_data_of_an_internal_snapshot_outlive_managing_its_file(driver: Qcow2Driver, folder: Path) -> None:
    qemu.qemu_io(folder / "disk.qcow2", "write -P 7 0 4096")
    snap(folder, "daily")
    qemu.qemu_io(folder / "disk.qcow2", "write -P 8 0 4096")
    qemu.create(folder / "top.qcow2", SIZE, "disk.qcow2")
    binding = bound(driver, "disk.qcow2")

    driver.manage_snapshot(binding)

    asked = ["convert", "-f", "qcow2", "-O", "raw", "-l", "snapshot.id=1"]
    qemu.qemu_img(*asked, folder / binding.managed_name, folder / "copy.raw")
    assert (folder / "copy.raw").read_bytes()[:4096] == b"\7" * 4096
    qemu.qemu_img("check", "-q", "-f", "qcow2", folder / binding.managed_name)


# Several volumes.


def test_shared_snapshot_is_of_each_volume_above_it_and_of_no_other(driver: Qcow2Driver, folder: Path) -> None:
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
    snap(folder, "daily")
    monkeypatch.setitem(commands.ENVIRONMENT, "PATH", "/nowhere")

    assert [each.name for each in driver.list_snapshots()] == ["disk.qcow2/1"]


def test_name_decides_what_is_read_as_qcow2_on_top(folder: Path) -> None:
    snap(folder, "daily")
    (folder / "disk.qcow2").rename(folder / "disk")

    with pytest.raises(errors.NotAVolume, match="image_patterns"):
        Qcow2Driver(str(folder)).find_volume(Reference.named("disk"))
    with pytest.raises(errors.NotASnapshot, match="image_patterns"):
        find(Qcow2Driver(str(folder)), "disk/1")
    assert Qcow2Driver(str(folder)).list_snapshots() == []
    assert find(Qcow2Driver(str(folder), ["vm-*", "disk"]), "disk/1").parent == "disk"


def test_backing_file_is_read_as_its_overlay_records_whatever_its_name(driver: Qcow2Driver, folder: Path) -> None:
    (folder / "disk.qcow2").rename(folder / "base")
    snap(folder, "daily", "base")
    qemu.create(folder / "top.qcow2", SIZE, "base")

    assert {each.name for each in driver.list_snapshots()} == {"base", "base/1"}


def test_guest_that_writes_a_header_into_its_raw_disk_gains_nothing(driver: Qcow2Driver, folder: Path) -> None:
    """Were the format probed, the overlay of a raw disk would show what the guest points at."""
    qemu.create(folder / "hostile", SIZE, str(SECRET), "raw", "-u")
    (folder / "raw.img").write_bytes((folder / "hostile").read_bytes())
    (folder / "hostile").unlink()
    qemu.create(folder / "top.qcow2", SIZE, "raw.img", "raw")

    [seen] = driver.list_snapshots()

    assert (seen.name, seen.unsafe, seen.extra["format"]) == ("raw.img", None, "raw")
    assert seen.size_bytes == (folder / "raw.img").stat().st_size


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink(SECRET, path)])
def test_what_is_no_regular_file_is_neither_listed_nor_followed(
    driver: Qcow2Driver, folder: Path, make: Callable[[Path], None]
) -> None:
    make(folder / "odd.qcow2")
    make(folder / "below")
    qemu.create(folder / "top.qcow2", SIZE, "below", "raw", "-u")
    qemu.create(folder / "highest.qcow2", SIZE, "top.qcow2", "qcow2", "-u")

    [seen] = driver.list_snapshots()

    assert (seen.name, seen.unsafe) == ("top.qcow2", Unsafe.UNUSABLE)
    assert "no regular file" in seen.unsafe_reason
    for name in ("odd.qcow2", "below", "odd.qcow2/1"):
        with pytest.raises(errors.NotASnapshot, match="no regular file"):
            find(driver, name)
    with pytest.raises(errors.NotAVolume, match="no regular file"):
        driver.find_volume(Reference.named("odd.qcow2"))


@pytest.mark.parametrize("recorded", [str(SECRET), "../images/disk.qcow2", 'json:{"driver":"null-co"}', "nbd:h:1"])
def test_image_that_leads_out_of_the_directory_is_told_with_the_reason_and_not_followed(
    driver: Qcow2Driver, folder: Path, recorded: str
) -> None:
    snap(folder, "daily")
    qemu.qemu_img("rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", recorded, folder / "disk.qcow2")

    [seen] = driver.list_snapshots()

    assert seen.unsafe is Unsafe.UNUSABLE
    assert repr(recorded) in seen.unsafe_reason
    with pytest.raises(errors.NotAVolume, match="backing file"):
        driver.find_volume(Reference.named("disk.qcow2"))


def test_hidden_files_and_names_that_are_no_text_are_no_images(driver: Qcow2Driver, folder: Path) -> None:
    snap(folder, "daily")
    for name in (b".hidden.qcow2", b"\xff.qcow2"):
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes((folder / "disk.qcow2").read_bytes())

    assert [each.name for each in driver.list_snapshots()] == ["disk.qcow2/1"]


def test_file_that_may_have_got_a_freed_number_is_another_object(driver: Qcow2Driver, folder: Path) -> None:
    qemu.create(folder / "top.qcow2", SIZE, "disk.qcow2")
    before = find(driver, "disk.qcow2").identity

    def made_again_later() -> bool:
        content = (folder / "disk.qcow2").read_bytes()
        (folder / "disk.qcow2").unlink()
        (folder / "disk.qcow2").write_bytes(content)
        return find(driver, "disk.qcow2").identity != before

    until(made_again_later, "the file system's clock to go on")


def test_image_that_cannot_be_read_is_logged_and_the_others_are_listed(
    driver: Qcow2Driver, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    snap(folder, "daily")
    (folder / "broken.qcow2").write_bytes(b"QFI\xfb")

    assert [each.name for each in driver.list_snapshots()] == ["disk.qcow2/1"]

    assert "'broken.qcow2': it ends within its header" in caplog.text
    with pytest.raises(errors.NotAVolume, match="within its header"):
        driver.find_volume(Reference.named("broken.qcow2"))
    with pytest.raises(errors.NotASnapshot, match="within its header"):
        find(driver, "broken.qcow2/1")


# Configuration.


@pytest.mark.parametrize("directory", [None, "images", "./images"])
def test_directory_that_is_no_absolute_path_is_told_with_the_remedy(directory: str | None) -> None:
    with pytest.raises(errors.ConfigurationError, match="absolute path"):
        Qcow2Driver(directory).check()


def test_managed_name_keeps_the_files_extension(driver: Qcow2Driver, folder: Path) -> None:
    qemu.create(folder / "top.qcow2", SIZE, "disk.qcow2")

    assert driver.managed_name(find(driver, "disk.qcow2"), "snapshot-1") == "snapshot-1.qcow2"


@pytest.mark.parametrize("template", ["a/b", "x" * 240, "a\0b", ".hidden"])
def test_template_that_makes_no_file_name_is_the_operators_to_mend(
    driver: Qcow2Driver, folder: Path, template: str
) -> None:
    qemu.create(folder / "top.qcow2", SIZE, "disk.qcow2")

    with pytest.raises(errors.ConfigurationError, match="snapshot_name_template"):
        driver.managed_name(find(driver, "disk.qcow2"), template)


def test_name_that_leaves_no_room_for_the_way_back_is_refused_with_the_remedy(
    driver: Qcow2Driver, folder: Path
) -> None:
    name = "x" * 238
    (folder / "disk.qcow2").rename(folder / name)
    qemu.create(folder / "top.qcow2", SIZE, name)

    with pytest.raises(errors.InvalidReference, match="rename it to at most 237 bytes"):
        driver.managed_name(find(driver, name), "snapshot-1")
