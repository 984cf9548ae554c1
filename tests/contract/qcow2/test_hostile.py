"""An image that makes qemu-img use much memory meets the limits of the command."""

from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.drivers.qcow2 import qemu_img
from tests.contract.qcow2.chain import SIZE, Chain
from tests.services.storage import qemu

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
