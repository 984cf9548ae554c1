"""Backends for the contract tests: one laboratory a driver, where a test does what operators do.

Every laboratory begins with one volume and no snapshot, and has a driver configured for it. `Lab`
says what each can do; where a driver's backend needs programs, the fixture in `test_drivers` asks
for them.
"""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar, Protocol

from snapmanage.core.backend import GIB, Unsafe
from snapmanage.drivers import privileged
from snapmanage.drivers.base import Driver
from snapmanage.drivers.fake import FakeDriver
from snapmanage.drivers.file import FileDriver
from snapmanage.drivers.lvm import LvmDriver
from tests.needs import require
from tests.services import uml_guest
from tests.services.lvm_metadata import EXTENT_BYTES, MetadataGroup, metadata_group


class Lab(Protocol):
    """A backend under test. Names are whole names, as the driver tells them."""

    volume: str
    size_bytes: int

    @property
    def driver(self) -> Driver: ...

    @property
    def impossible_names(self) -> tuple[str, ...]:
        """Names that a caller may send, and the backend can't have."""

    def name_of(self, word: str) -> str:
        """A name that a snapshot of the volume may have on this backend."""

    def add_snapshot(self, name: str) -> None:
        """Make a snapshot of the volume."""

    def remove(self, name: str) -> None: ...

    def names(self) -> set[str]:
        """What is on the backend besides the volume, asked without the driver."""

    def go_away(self) -> None:
        """Make the backend unreachable."""


class HoldingLab(Lab, Protocol):
    """A laboratory that can open a snapshot as its users do."""

    def held(self, name: str) -> AbstractContextManager[None]:
        """Hold the snapshot in use."""


class FakeLab:
    volume = "volume-1"
    size_bytes = GIB
    impossible_names = ()

    def __init__(self) -> None:
        self.driver = FakeDriver(fake_volumes=1, fake_snapshots=0)

    def name_of(self, word: str) -> str:
        return word

    def add_snapshot(self, name: str) -> None:
        self.driver.add_snapshot(self.volume, name)

    def remove(self, name: str) -> None:
        self.driver.remove(name)

    def names(self) -> set[str]:
        return {found.name for found in self.driver.list_snapshots()}

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        self.driver.mark(name, Unsafe.IN_USE)
        yield
        self.driver.mark(name, None)

    def go_away(self) -> None:
        self.driver.go_away()


class FileLab:
    volume = "disk1.img"
    size_bytes = 3 * 1024**2 + 1
    impossible_names = ("../disk1.img@x", "/etc/passwd", "disk1.img@a/b", "disk1.img@\0", "..", ".hidden@x", "\ud800@x")

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "images"
        self.folder.mkdir()
        self.driver = FileDriver(str(self.folder))
        self._write(self.volume)

    def name_of(self, word: str) -> str:
        return f"{self.volume}@{word}"

    def add_snapshot(self, name: str) -> None:
        self._write(name)

    def remove(self, name: str) -> None:
        # The inode stays taken, so that the next file can't be given the same number at once.
        (self.folder / name).rename(self.folder.parent / f"removed-{len(os.listdir(self.folder.parent))}")

    def names(self) -> set[str]:
        return set(os.listdir(self.folder)) - {self.volume}

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        with (self.folder / name).open("rb") as image:
            # A shared lock, taken by an opener of its own: what a qemu that only reads has.
            fcntl.lockf(image, fcntl.LOCK_SH, 1, 100)
            yield

    def go_away(self) -> None:
        self.folder.rename(self.folder.with_name("gone"))

    def _write(self, name: str) -> None:
        with (self.folder / name).open("xb") as image:
            image.truncate(self.size_bytes)


class LvmMetadataLab:
    """LVM without a kernel's help: thick or thin, but nothing can be opened."""

    impossible_names = ("a/b", "-x", "a b", "..", "x" * 128, "snapshot1", "é", 'x" || lv_name=~".*')

    def __init__(self, group: MetadataGroup, thin: bool) -> None:
        self.group = group
        self.thin = thin
        self.volume = "thin-volume" if thin else "thick-volume"
        self.size_bytes = (8 if thin else 2) * EXTENT_BYTES
        self.driver = LvmDriver(group.name, str(group.system_dir), 30)
        if thin:
            group.add_pool()
            group.add_thin_volumes(self.volume)
        else:
            group.add_volumes(self.volume)

    def name_of(self, word: str) -> str:
        return word

    def add_snapshot(self, name: str) -> None:
        add = self.group.add_thin_snapshots if self.thin else self.group.add_thick_snapshots
        add(self.volume, name)

    def remove(self, name: str) -> None:
        if self.thin:
            self.group.remove_thin(name)
        else:
            self.group.lvm("lvremove", "--yes", f"{self.group.name}/{name}")

    def names(self) -> set[str]:
        return self.group.names() - {self.volume, "pool"}

    def go_away(self) -> None:
        self.group.lvm("vgrename", self.group.name, "another-group")


class LvmKernelLab:
    """LVM on the disk of a guest that has device-mapper: everything is real, data included.

    Making a group takes seconds there, so there is one, and each laboratory mends what the last left.
    """

    impossible_names = LvmMetadataLab.impossible_names
    group = "test-group"
    renamed_group = "another-group"
    furniture: ClassVar[dict[str, list[str]]] = {
        "pool": ["--type", "thin-pool", "--size", "64m"],
        "thin-volume": ["--thinpool", "pool", "--virtualsize", "16m"],
        "thick-volume": ["--wipesignatures", "n", "--size", "16m"],
    }

    def __init__(self, thin: bool) -> None:
        self.thin = thin
        self.volume = "thin-volume" if thin else "thick-volume"
        self.size_bytes = 16 * 1024**2
        self.driver = LvmDriver(self.group, uml_guest.LVM_SYSTEM_DIR, 60)
        self._tidy()

    def name_of(self, word: str) -> str:
        return word

    def add_snapshot(self, name: str, store: str = "8m") -> None:
        size = [] if self.thin else ["--size", store]
        lvm("lvcreate", "--snapshot", *size, "--name", name, f"{self.group}/{self.volume}")

    def remove(self, name: str) -> None:
        lvm("lvremove", "--yes", f"{self.group}/{name}")

    def names(self) -> set[str]:
        return set(lvm("lvs", "--noheadings", "-o", "lv_name", self.group).split()) - self.furniture.keys()

    def device(self, name: str) -> Path:
        """The block device of a volume or a snapshot, which is activated where it isn't."""
        lvm("lvchange", "--yes", "--activate", "y", "--ignoreactivationskip", f"{self.group}/{name}")
        return Path("/dev", self.group, name)

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        with self.device(name).open("rb"):
            yield

    def go_away(self) -> None:
        lvm("vgrename", self.group, self.renamed_group)

    def _tidy(self) -> None:
        groups = lvm("vgs", "--noheadings", "-o", "vg_name").split()
        if self.renamed_group in groups:
            lvm("vgrename", self.renamed_group, self.group)
        elif self.group not in groups:
            lvm("vgcreate", "--yes", self.group, uml_guest.DISK)
        if leftover := self.names():
            lvm("lvremove", "--yes", *(f"{self.group}/{name}" for name in leftover))
        there = lvm("lvs", "--noheadings", "-o", "lv_name", self.group).split()
        for name, made in self.furniture.items():
            if name not in there:
                lvm("lvcreate", "--yes", *made, "--name", name, self.group)


def lvm(*argv: str) -> str:
    """Run a command of lvm2 as the guest's operator; its failure fails the test with what it said."""
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{argv} ended with {ended.returncode}: {ended.stderr}"
    return ended.stdout


def in_guest() -> bool:
    """Whether we run in a guest of User Mode Linux, whose whole disk is ours."""
    return os.environ.get("SNAPMANAGE_IN_GUEST") == "true"


def lvm_lab(kind: str, folder: Path, stack: ExitStack) -> Lab:
    """A laboratory `lvm-thick` or `lvm-thin`: in a guest with a kernel, elsewhere on metadata alone."""
    thin = kind == "lvm-thin"
    privileged.start()
    if in_guest():
        return LvmKernelLab(thin)
    require("lvs", "losetup", root=True)
    return LvmMetadataLab(stack.enter_context(metadata_group(folder)), thin)
