"""Files that are not images of the driver, but record an image or link to it: the image keeps its name."""

import errno
import threading
from pathlib import Path

import pytest

from snapmanage.drivers.system import files, syscalls
from tests.contract.qcow2.image_directory import SIZE, ImageDirectory
from tests.services.storage import qemu
from tests.services.storage.fuse import mounted_by_other_user


@pytest.mark.parametrize("name", ["vm.snap1", ".hidden.qcow2", "\udcff.qcow2", "x" * 255])
@pytest.mark.parametrize("recorded", ["base.qcow2", "DIR//base.qcow2"])
def test_overlay_with_any_name_blocks_the_rename(images: ImageDirectory, name: str, recorded: str) -> None:
    images.make_image("top2.qcow2", recorded)
    (images.folder / "top2.qcow2").rename(images.folder / name)
    assert images.is_opened_by_qemu(name)

    images.check_refused(repr(name))

    assert images.is_opened_by_qemu(name)


@pytest.mark.parametrize("kind", ["qed", "qcow"])
@pytest.mark.parametrize("name", ["old", "old.qcow2"])
def test_overlay_in_another_format_blocks_the_rename(images: ImageDirectory, kind: str, name: str) -> None:
    argv = ("-q", "-f", kind, "-b", "base.qcow2", "-F", "qcow2", images.folder / name)
    qemu.qemu_img("create", *argv)
    assert images.is_opened_by_qemu(name)

    images.check_refused(repr(name))

    assert images.is_opened_by_qemu(name)


@pytest.mark.parametrize("kind", ["qed", "qcow", "vmdk", "vhdx", "vpc", "vdi", "luks"])
def test_image_in_another_format_without_a_backing_file_blocks_nothing(images: ImageDirectory, kind: str) -> None:
    options = ["--object", "secret,id=s,data=x", "-o", "key-secret=s,iter-time=10"] if kind == "luks" else []
    for name in ("lonely.qcow2", "lonely"):
        qemu.qemu_img("create", "-q", "-f", kind, *options, images.folder / name, "1M")

    images.manage()

    assert images.is_opened_by_qemu("top1.qcow2")


@pytest.mark.parametrize("recorded", ["base.raw", "DIR/base.raw", "../images/base.raw"])
def test_vmdk_with_the_file_as_its_extent_blocks_the_rename(images: ImageDirectory, recorded: str) -> None:
    (images.folder / "base.raw").write_bytes(bytes(SIZE))
    qemu.create(images.folder / "disk.qcow2", SIZE, "base.raw", "raw")
    qemu.qemu_img("create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", images.folder / "flat.vmdk", "1M")
    text = (images.folder / "flat.vmdk").read_text()
    written = recorded.replace("DIR", str(images.folder))
    (images.folder / "flat.vmdk").write_text(text.replace("flat-flat.vmdk", written))
    assert images.is_opened_by_qemu("flat.vmdk")

    images.check_refused("'flat.vmdk'", "base.raw")

    assert images.is_opened_by_qemu("flat.vmdk")


@pytest.mark.parametrize("recorded", ["base.raw", "DIR/base.raw", "DIR/../images/base.raw"])
def test_image_with_the_file_as_its_data_file_blocks_the_rename(
    images: ImageDirectory, recorded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(images.folder)
    data = recorded.replace("DIR", str(images.folder))
    qemu.qemu_img("create", "-q", "-f", "qcow2", "-o", f"data_file={data},data_file_raw=on", "split.qcow2", "1M")
    qemu.create(images.folder / "disk.qcow2", SIZE, "base.raw", "raw")

    images.check_refused("'split.qcow2'", "base.raw")

    qemu.qemu_io(Path("split.qcow2"), "read 0 512")


def test_symbolic_link_to_the_file_blocks_the_rename(images: ImageDirectory) -> None:
    (images.folder / "current.qcow2").symlink_to("base.qcow2")

    images.check_refused("'current.qcow2'")

    assert images.is_opened_by_qemu("current.qcow2")


def test_overlay_outside_the_directory_blocks_the_rename_if_a_link_leads_to_it(images: ImageDirectory) -> None:
    images.add_surroundings()
    images.make_image("top2.qcow2", "base.qcow2")
    (images.folder / "top2.qcow2").rename(images.folder.parent / "top2.qcow2")
    (images.folder / "moved.qcow2").symlink_to("../top2.qcow2")
    assert images.is_opened_by_qemu("moved.qcow2")

    images.check_refused("'moved.qcow2'")

    assert images.is_opened_by_qemu("moved.qcow2")


def test_data_of_a_raw_backing_file_block_nothing(images: ImageDirectory) -> None:
    images.make_image("hostile", "DIR//base.qcow2")
    images.make_image("guest.qcow2", "hostile", "raw")

    images.manage()

    assert images.is_opened_by_qemu("top1.qcow2")


def test_name_that_cannot_be_followed_blocks_nothing_in_a_file_that_is_no_image(
    images: ImageDirectory,
) -> None:
    """A guest can write anything into a raw disk, and could stop every rename."""
    images.make_image("guest.img", 'json:{"driver":"qcow2","file":"node0"}')

    images.manage()

    assert images.is_opened_by_qemu("top1.qcow2")


def test_link_to_a_file_on_a_storage_that_hangs_blocks_renames_and_no_listing(
    images: ImageDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    (images.folder / "link").symlink_to(images.folder.parent / "hanging")
    (images.folder.parent / "hanging").touch()
    released, open_regular = threading.Event(), files.open_regular

    def hang(directory_fd: int, name: str, flags: int = files.PROBE_FLAGS) -> int | None:
        if name == "link":
            released.wait()
        return open_regular(directory_fd, name, flags)

    monkeypatch.setattr(files, "open_regular", hang)
    try:
        assert {each.name for each in images.driver.list_snapshots()} == {"base.qcow2"}
        images.check_refused("'link'")
    finally:
        released.set()


def test_path_in_a_raw_disk_that_hangs_keeps_no_link_and_no_image_from_being_followed(
    images: ImageDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    (images.folder / "disk.raw").write_text('createType=x\nRW 1 FLAT "/net/of-the-guest/x" 0\n')
    (images.folder / "latest").symlink_to("other.qcow2")
    images.make_image("top2.qcow2", "../images/other.qcow2")
    released, follow = threading.Event(), syscalls.target_status

    def hang(directory_fd: int, path: str) -> syscalls.FileStatus:
        if path.startswith("/net"):
            released.wait()
        return follow(directory_fd, path)

    monkeypatch.setattr(syscalls, "target_status", hang)
    try:
        images.find()
        images.manage()
    finally:
        released.set()


def test_path_in_a_raw_disk_that_can_not_be_followed_counts_for_files_of_its_name(
    images: ImageDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    (images.folder / "disk.raw").write_text('createType=x\nRW 1 FLAT "/net/of-the-guest/base.qcow2" 0\n')
    follow = syscalls.target_status

    def refuse(directory_fd: int, path: str) -> syscalls.FileStatus:
        if path.startswith("/net"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return follow(directory_fd, path)

    monkeypatch.setattr(syscalls, "target_status", refuse)

    images.check_refused("which may be this file")


@pytest.mark.parametrize("name", ["users", "theirs.qcow2"])
def test_mount_of_another_user_hides_only_its_own_entry(images: ImageDirectory, name: str) -> None:
    base = images.find()
    point = images.folder / name
    point.mkdir() if name == "users" else point.write_bytes(b"")

    with mounted_by_other_user(point):
        found = images.driver.locate({base.identity}, {name, f"{name}/1", "gone.qcow2", "gone.qcow2/1"})

    assert {(each.name, each.identity) for each in found} == {
        *((base.name, base.identity), (name, ""), (f"{name}/1", "")),
    }
