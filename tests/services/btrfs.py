"""A real btrfs on a loop device over a sparse file, mounted in a scratch folder. Needs `btrfs-progs`, and root."""

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.needs import lacking, require

PROGRAMS = ("mkfs.btrfs", "btrfs", "mount", "losetup")

_DEVICE_BYTES = 2 * 1024**3
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_SNAP_CREATE_V2 = 0x50009417
_READ_ONLY = 2
_CREATE = struct.Struct("=qQQ32x4040s")


def require_kernel() -> None:
    """Skip the test (fail it in CI) unless a btrfs can be made and mounted here."""
    require(*PROGRAMS, root=True)
    # A kernel that has it as a module loads that at the first mount.
    known = "btrfs" in Path("/proc/filesystems").read_text()
    if not known and not any(Path("/lib/modules", os.uname().release).rglob("btrfs.ko*")):
        lacking("btrfs in the kernel")


class Btrfs:
    """A mounted file system; names are paths from its top."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.image = folder / "device"
        self.top = folder / "top"

    def make(self) -> None:
        with self.image.open("wb") as file:
            file.truncate(_DEVICE_BYTES)
        self.top.mkdir()
        # What makes the commit that each snapshot is a small one.
        small = ["--nodesize", "4096", "--metadata", "single", "-R", "^free-space-tree"]
        run("mkfs.btrfs", "--quiet", *small, str(self.image))
        self.mount()

    def mount(self) -> None:
        run("mount", "-t", "btrfs", "-o", "loop,nobarrier", str(self.image), str(self.top))

    def unmount(self) -> None:
        run("umount", str(self.top))

    def btrfs(self, *argv: str) -> str:
        return run("btrfs", *argv)

    def add_volume(self, name: str) -> None:
        self.btrfs("subvolume", "create", str(self.top / name))

    def add_snapshots(self, volume: str, *names: str, read_only: bool = True) -> None:
        """Make snapshots by the same call as `btrfs subvolume snapshot`, without a process for each."""
        with opened(self.top / volume) as source:
            for name in names:
                with opened((self.top / name).parent) as place:
                    last = os.fsencode(name.rpartition("/")[2])
                    order = bytearray(_CREATE.pack(source, 0, _READ_ONLY if read_only else 0, last))
                    fcntl.ioctl(place, _SNAP_CREATE_V2, order)

    def remove(self, name: str) -> None:
        self.btrfs("subvolume", "delete", str(self.top / name))

    def snapshots(self) -> set[str]:
        """Every snapshot, by the tools' own account, which is of no use for names with line breaks."""
        listed = self.btrfs("subvolume", "list", "-s", str(self.top)).splitlines()
        return {line.split(" path ", 1)[1] for line in listed}

    def enable_quotas(self) -> None:
        self.btrfs("quota", "enable", str(self.top))
        self.btrfs("quota", "rescan", "-w", str(self.top))

    def on_disk(self) -> str:
        """The tree of subvolumes as it would be read after a power failure."""
        return self.btrfs("inspect-internal", "dump-tree", "--tree", "root", str(self.image))

    @contextmanager
    def mounted(self, name: str) -> Iterator[Path]:
        """Mount one subvolume by itself, elsewhere."""
        point = self.folder / "elsewhere"
        point.mkdir()
        source = run("findmnt", "--noheadings", "--nofsroot", "--output", "SOURCE", str(self.top)).strip()
        run("mount", "-t", "btrfs", "-o", f"subvol={name}", source, str(point))
        try:
            yield point
        finally:
            run("umount", str(point))
            point.rmdir()


def run(*argv: str) -> str:
    """Run a command as the operator; its failure fails the test with what it said."""
    ended = subprocess.run(argv, env={"PATH": _PATH, "LC_ALL": "C"}, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{argv} ended with {ended.returncode}: {ended.stderr}"
    return ended.stdout


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def mounted_btrfs(folder: Path) -> Iterator[Btrfs]:
    """An empty btrfs mounted in `folder`; nothing of it is mounted afterwards, and its loop device is free."""
    made = Btrfs(folder)
    try:
        made.make()
        yield made
    finally:
        # The loop device was made by `mount`, and ends with the last of its mounts.
        while made.top.is_mount():
            run("umount", "--lazy", str(made.top))
        with suppress(FileNotFoundError):
            os.unlink(made.image)
