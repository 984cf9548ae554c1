"""Reasons why the listing reports a snapshot as unusable, before a request to manage it could fail."""

import os
import subprocess
from pathlib import Path

import pytest

from snapmanage.core.backend import Binding, Unsafe
from snapmanage.drivers.qcow2.driver import Qcow2Driver
from snapmanage.testing.needs import require
from tests.contract.qcow2.image_directory import SIZE, ImageDirectory, as_another_user
from tests.services.storage import qemu
from tests.services.storage.leases import leased


def test_file_that_snapmanage_may_not_link_is_listed_as_unusable(shared_images: ImageDirectory) -> None:
    images = shared_images
    os.chmod(images.folder / "base.qcow2", 0o644)
    if Path("/proc/sys/fs/protected_hardlinks").read_text().strip() == "0":
        pytest.skip("this system lets every user link every file")

    with as_another_user(images.folder, images.folder / "top1.qcow2"):
        images.check_refused("snapmanage's user must own it")


def test_snapshot_below_an_overlay_that_snapmanage_may_not_write_is_listed_as_unusable(
    shared_images: ImageDirectory,
) -> None:
    images = shared_images
    os.chmod(images.folder / "top1.qcow2", 0o644)

    with as_another_user(images.folder, images.folder / "base.qcow2"):
        images.check_refused(
            "'top1.qcow2' can't record another backing file name: snapmanage has no permission to write it"
        )


def test_snapshot_with_a_name_too_long_to_be_restored_is_listed_as_unusable(images: ImageDirectory) -> None:
    name = "base.qcow2".ljust(238, "x")
    (images.folder / "base.qcow2").rename(images.folder / name)
    images.make_image("top1.qcow2", name)

    images.check_refused("237 bytes", name)


def test_snapshot_below_an_overlay_without_room_for_a_longer_name_is_listed_as_unusable(images: ImageDirectory) -> None:
    deep = images.folder.joinpath(*["d" * 200] * 4)
    deep.mkdir(parents=True)
    images.folder = deep
    images.driver = Qcow2Driver(str(deep))
    qemu.create(deep / "base.qcow2", SIZE)
    images.make_image("top1.qcow2", "DIR/base.qcow2")

    images.check_refused("no room")


def test_managed_name_omits_an_overlong_extension(images: ImageDirectory) -> None:
    name = "base." + "x" * 230
    (images.folder / "base.qcow2").rename(images.folder / name)
    images.make_image("top1.qcow2", name)
    found = images.find(name)

    managed = images.driver.managed_name(found, "snapshot-1")

    assert managed == "snapshot-1"
    images.driver.manage_snapshot(Binding(found.identity, name, managed))
    assert images.is_opened_by_qemu("top1.qcow2")


@pytest.mark.parametrize("name", ["base.qcow2", "top1.qcow2"])
def test_immutable_file_is_listed_as_unusable(images: ImageDirectory, name: str) -> None:
    require("chattr", root=True)
    command = ["chattr", "+i", str(images.folder / name)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this file system has no immutable files")
    try:
        images.check_refused(repr(name))
    finally:
        subprocess.run(["chattr", "-i", str(images.folder / name)], check=True)
    images.manage()


def test_snapshot_below_an_unusable_volume_is_listed_as_unusable(images: ImageDirectory) -> None:
    images.make_image("middle.qcow2", "base.qcow2")
    (images.folder / "top1.qcow2").unlink()
    images.make_image("top1.qcow2", "middle.qcow2")
    with (images.folder / "top1.qcow2").open("r+b") as image:
        image.seek(72)
        image.write((1 << 1).to_bytes(8))

    images.check_refused("'top1.qcow2'")


def test_unreadable_file_hides_no_snapshot_from_the_listing(
    images: ImageDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    qemu.qemu_img("snapshot", "-c", "daily", images.folder / "other.qcow2")
    broken = images.folder / "broken.qcow2"
    broken.write_bytes(b"anything")
    real = os.pread

    def fail_to_read(fd: int, size: int, offset: int) -> bytes:
        if os.path.samestat(os.fstat(fd), broken.stat()):
            raise OSError(5, "Input/output error")
        return real(fd, size, offset)

    monkeypatch.setattr(os, "pread", fail_to_read)

    assert {(each.name, each.unsafe) for each in images.driver.list_snapshots()} == {
        ("base.qcow2", Unsafe.UNUSABLE),
        ("other.qcow2/1", None),
    }
    images.check_refused("'broken.qcow2' can't be read: Input/output error")


def test_reason_names_the_lease_on_another_image_that_keeps_it_from_being_read(images: ImageDirectory) -> None:
    with leased(images.folder / "other.qcow2"):
        images.check_refused("'other.qcow2' can't be read: a process holds a lease on it")

    images.manage()
