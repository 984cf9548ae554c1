"""Data that guests and other users write: they make neither qemu-img use much memory, nor a scan take long."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.core.backend import Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers.qcow2 import directory, format, obstacles, qemu_img
from snapmanage.drivers.system import syscalls
from tests.contract.qcow2.chain import SIZE, Chain
from tests.contract.qcow2.image_directory import ImageDirectory
from tests.services.storage import qemu
from tests.unit.drivers.qcow2.images import Entry, Qcow2

FEATURES_OFFSET, DIRTY = 72, 1
# qemu-img checks a dirty image first, with 8 bytes of memory for each cluster of 512 bytes.
LENGTH = 100 * 1024**3


def make_hostile(image: Path, *backing: str) -> None:
    """Make an image of 28 KiB on the disk, for which qemu-img uses 1.6 GB of memory and 11 s without limits."""
    options = "lazy_refcounts=on,cluster_size=512,refcount_bits=64"
    qemu.qemu_img("create", "-q", "-f", "qcow2", "-o", options, *backing, image, str(SIZE))
    with image.open("r+b") as file:
        file.seek(FEATURES_OFFSET)
        features = int.from_bytes(file.read(8), "big")
        file.seek(FEATURES_OFFSET)
        file.write((features | DIRTY).to_bytes(8, "big"))
        file.truncate(LENGTH)


def test_image_that_needs_much_memory_ends_qemu_img(tmp_path: Path) -> None:
    image = tmp_path / "hostile.qcow2"
    make_hostile(image)

    with image.open("r+b") as opened:
        outcome = qemu_img.rebase(opened.fileno(), "other.qcow2", "qcow2", opened.fileno(), 60)

    assert "Cannot allocate memory" in outcome
    assert image.stat().st_blocks * 512 < 1024**2


def test_driver_refuses_such_an_image_before_it_runs_qemu_img(chain: Chain) -> None:
    binding = chain.binding()
    hostile = chain.folder / "disk.qcow2"
    hostile.unlink()
    make_hostile(hostile, "-b", "middle.qcow2", "-F", "qcow2")

    with pytest.raises(errors.Unusable, match="not closed cleanly"):
        chain.driver.manage_snapshot(binding)


def make_vmdk(image: Path) -> None:
    """Write a VMDK of 64 KiB whose names may mean more than 10,000 paths, as a guest can do in a raw disk."""
    texts = ("'" + ":".join(letters) + "'," for letters in product("abcdefgh", repeat=17))
    lines = [f'RW 1 FLAT "json:{{{"".join(next(texts) for _ in range(27))}" 0' for _ in range(60)]
    image.write_text("\n".join(["createType=x", *lines]))


def test_thousands_of_names_in_a_raw_disk_are_not_followed(
    images: ImageDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_vmdk(images.folder / "disk.raw")
    followed: list[str] = []
    follow = syscalls.target_status

    def record(directory_fd: int, path: str) -> Any:
        followed.append(path)
        return follow(directory_fd, path)

    monkeypatch.setattr(syscalls, "target_status", record)
    images.find()

    assert 0 < len(followed) <= obstacles.MOST_PATHS
    images.manage()


def test_too_many_names_in_an_image_may_mean_any_file(images: ImageDirectory) -> None:
    make_vmdk(images.folder / "disk.qcow2")

    images.check_refused("may be any file")


def test_internal_snapshots_in_a_raw_disk_are_not_read(images: ImageDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = Qcow2(entries=[Entry(b"%d" % number) for number in range(100)]).packed()
    (images.folder / "disk.raw").write_bytes(hostile)
    (images.folder / "base.raw").write_bytes(hostile)
    images.make_image("top.qcow2", "base.raw", kind="raw")
    (images.folder / "base.img").write_bytes(hostile)
    images.make_image("other-top.qcow2", "base.img")
    tables: list[int] = []
    read = format._internal_snapshots  # noqa: SLF001

    def record(*arguments: Any) -> Any:
        found = read(*arguments)
        tables.append(len(found[0]))
        return found

    monkeypatch.setattr(format, "_internal_snapshots", record)
    listed = {each.name for each in images.driver.list_snapshots()}

    assert sum(tables) == 100
    assert "base.img/99" in listed
    assert not {"disk.raw/99", "base.raw/99"} & listed


def test_scan_keeps_a_bounded_number_of_internal_snapshots(
    images: ImageDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(directory, "MOST_INTERNAL_SNAPSHOTS", 25)
    for number in range(5):
        entries = [Entry(b"%d" % id) for id in range(10)]
        (images.folder / f"many-{number}.qcow2").write_bytes(Qcow2(entries=entries).packed())

    listed = [each.name for each in images.driver.list_snapshots() if each.name.startswith("many-")]

    assert len(listed) == 20
    assert "images=3" in caplog.text
    assert "move some images to another directory" in caplog.text


def test_snapshot_beyond_this_number_can_be_managed(images: ImageDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "MOST_INTERNAL_SNAPSHOTS", 9)
    (images.folder / "many.qcow2").write_bytes(Qcow2(entries=[Entry(b"%d" % id) for id in range(10)]).packed())
    name = "many.qcow2/9"
    found = images.driver.find_snapshot(Reference.named(name))

    assert images.driver.manage_snapshot(Binding(found.identity, name, name)) == found


def test_name_of_an_internal_snapshot_is_cut_to_the_length_that_qemu_writes(images: ImageDirectory) -> None:
    (images.folder / "long.qcow2").write_bytes(Qcow2(entries=[Entry(name=b"n" * 1000)]).packed())

    assert images.driver.find_snapshot(Reference.named("long.qcow2/1")).extra["internal_name"] == "n" * 255
