"""A directory with one backing file, whose names in other images the tests vary, and helpers for other directories."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding, Unsafe, refuse_unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers.qcow2.driver import Qcow2Driver
from tests.services.storage import qemu

SIZE = 1024**2
NEW = "snapshot-1.qcow2"
OTHER_USER = 65534


class ImageDirectory:
    """A directory with base.qcow2 and one plain overlay, top1.qcow2; each test makes its own top2.qcow2."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "images"
        self.folder.mkdir()
        self.driver = Qcow2Driver(str(self.folder))
        for name in ("base.qcow2", "other.qcow2"):
            qemu.create(self.folder / name, SIZE)
        qemu.create(self.folder / "top1.qcow2", SIZE, "base.qcow2")

    def add_surroundings(self) -> None:
        beside = self.folder.parent
        (beside / "elsewhere").mkdir()
        qemu.create(beside / "elsewhere" / "base.qcow2", SIZE)
        (beside / "linked").symlink_to("images")
        (beside / "file-link").symlink_to("images/base.qcow2")
        (self.folder / "here").symlink_to(".")

    def make_image(self, name: str, recorded: str, kind: str = "qcow2") -> None:
        """Make an image with exactly this backing file name, even if no file is there."""
        qemu.create(self.folder / name, SIZE)
        written = recorded.replace("DIR", str(self.folder))
        qemu.qemu_img("rebase", "-u", "-f", "qcow2", "-F", kind, "-b", written, self.folder / name)

    def find(self, name: str = "base.qcow2") -> BackendSnapshot:
        return self.driver.find_snapshot(Reference.named(name))

    def manage(self, name: str = "base.qcow2") -> None:
        self.driver.manage_snapshot(Binding(self.find(name).identity, name, NEW))

    def is_opened_by_qemu(self, name: str) -> bool:
        """Return whether QEMU, started in another folder, opens the whole chain."""
        argv = ["qemu-img", "info", "-U", "--backing-chain", str(self.folder / name)]
        return (
            subprocess.run(argv, capture_output=True, check=False, cwd="/", timeout=qemu.TIMEOUT_SECONDS).returncode
            == 0
        )

    def check_refused(self, reason: str, name: str = "base.qcow2") -> None:
        """Check that the snapshot is listed as unusable for this reason, and that managing it fails for it too."""
        [listed] = [each for each in self.driver.list_snapshots() if each.name == name]
        assert listed.unsafe is Unsafe.UNUSABLE
        assert reason in listed.unsafe_reason
        assert self.find(name) == listed
        with pytest.raises(errors.Unusable) as refusal:
            self.manage(name)
        assert listed.unsafe_reason in str(refusal.value)
        with pytest.raises(errors.Unusable):
            refuse_unsafe(listed)


@contextmanager
def as_another_user(*owned: Path) -> Iterator[None]:
    """Run as a user who owns these files, because root may do everything."""
    for path in owned:
        os.chown(path, OTHER_USER, -1)
    os.seteuid(OTHER_USER)
    try:
        yield
    finally:
        os.seteuid(0)


def add_internal_snapshot(folder: Path, name: str, image: str = "disk.qcow2") -> None:
    qemu.qemu_img("snapshot", "-c", name, folder / image)


def find(driver: Qcow2Driver, name: str, volume: str | None = None) -> BackendSnapshot:
    return driver.find_snapshot(Reference.named(name), volume)


def binding_of(driver: Qcow2Driver, name: str) -> Binding:
    found = find(driver, name)
    return Binding(found.identity, name, driver.managed_name(found, f"snapshot-{uuid.uuid4()}"))
