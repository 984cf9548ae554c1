"""A real btrfs on a loop device over a sparse file, mounted in a scratch folder. Needs `btrfs-progs`, and root."""

import fcntl
import os
import re
import struct
import subprocess
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from snapmanage.testing.needs import lacking, require

PROGRAMS = ("mkfs.btrfs", "btrfs", "btrfs-map-logical", "mount", "losetup")

_DEVICE_BYTES = 2 * 1024**3
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_SNAP_CREATE_V2 = 0x50009417
_SUBVOL_CREATE = 0x5000940E
_ARGUMENTS = struct.Struct("=q4088s")
_READ_ONLY = 2
_CREATE = struct.Struct("=qQQ32x4040s")


def require_kernel() -> None:
    """Skip the test (fail it in CI) unless a btrfs can be made and mounted here."""
    require(*PROGRAMS, root=True)
    # A kernel with btrfs as a module loads it at the first mount.
    known = "btrfs" in Path("/proc/filesystems").read_text()
    if not known and not any(Path("/lib/modules", os.uname().release).rglob("btrfs.ko*")):
        lacking("btrfs in the kernel")
    ended = subprocess.run(["losetup", "--find"], env={"PATH": _PATH}, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        lacking(f"a loop device, as in a chroot without /dev ({ended.stderr.strip()})")


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
        # Each snapshot is a commit; these options make it small.
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
        with open_descriptor(self.top / volume) as source:
            for name in names:
                with open_descriptor((self.top / name).parent) as place:
                    last = os.fsencode(name.rpartition("/")[2])
                    order = bytearray(_CREATE.pack(source, 0, _READ_ONLY if read_only else 0, last))
                    fcntl.ioctl(place, _SNAP_CREATE_V2, order)

    def add_deep_snapshots(self, volume: str, place: str, depths: Collection[int], name: str = "d" * 250) -> None:
        """Make snapshots at these depths of folders that have the same name; the deepest have no usable path."""
        with open_descriptor(self.top / volume) as source, ExitStack() as closed:
            folder = closed.enter_context(open_descriptor(self.top / place))
            for depth in range(1, max(depths) + 1):
                os.mkdir(name, dir_fd=folder)
                folder = closed.enter_context(open_descriptor(Path(name), folder))
                if depth in depths:
                    order = bytearray(_CREATE.pack(source, 0, _READ_ONLY, b"deep"))
                    fcntl.ioctl(folder, _SNAP_CREATE_V2, order)

    def add_nested_volumes(self, count: int) -> None:
        """Make this number of subvolumes, each inside the one before."""
        with ExitStack() as closed:
            above = closed.enter_context(open_descriptor(self.top))
            for _ in range(count):
                fcntl.ioctl(above, _SUBVOL_CREATE, bytearray(_ARGUMENTS.pack(0, b"v")))
                above = closed.enter_context(open_descriptor(Path("v"), above))

    def damage(self, name: str) -> None:
        """Overwrite the root of a subvolume's own tree while the file system isn't mounted."""
        number = self.btrfs("inspect-internal", "rootid", str(self.top / name)).strip()
        self.unmount()
        tree = self.btrfs("inspect-internal", "dump-tree", "--tree", number, str(self.image))
        [block] = re.findall(r"^(?:leaf|node) (\d+) ", tree, re.MULTILINE)[:1]
        [place] = re.findall(r"physical (\d+) ", run("btrfs-map-logical", "-l", block, str(self.image)))
        with self.image.open("r+b") as device:
            device.seek(int(place))
            device.write(b"damaged" * 64)
        self.mount()

    def send(self, *arguments: str) -> bytes:
        """Return the stream of `btrfs send`; the last argument is the snapshot's path from the top."""
        *options, name = arguments
        argv = ["btrfs", "send", "--quiet", *options, str(self.top / name)]
        return subprocess.run(argv, env={"PATH": _PATH}, capture_output=True, check=True).stdout

    def receive(self, stream: bytes, place: str, whole: bool = True) -> None:
        argv = ["btrfs", "receive", "--quiet", str(self.top / place)]
        ended = subprocess.run(argv, env={"PATH": _PATH}, input=stream, capture_output=True, check=False)
        assert (ended.returncode == 0) is whole, ended.stderr

    def remove(self, name: str) -> None:
        self.btrfs("subvolume", "delete", str(self.top / name))

    def snapshots(self) -> set[str]:
        """Return every snapshot that the tools list; the tools print names with line breaks wrongly."""
        listed = self.btrfs("subvolume", "list", "-s", str(self.top)).splitlines()
        return {line.split(" path ", 1)[1] for line in listed}

    def enable_quotas(self) -> None:
        self.btrfs("quota", "enable", str(self.top))
        self.btrfs("quota", "rescan", "-w", str(self.top))

    def on_disk(self) -> str:
        """Return the tree of subvolumes that would remain after a power failure at this moment."""
        return self.btrfs("inspect-internal", "dump-tree", "--tree", "root", str(self.image))

    @contextmanager
    def mounted(self, name: str) -> Iterator[Path]:
        """Mount one subvolume in another folder, and yield that folder."""
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
    """Run a command as the operator and return its output; if it fails, the test fails with its messages."""
    environment = {"PATH": _PATH, "LC_ALL": "C"}
    ended = subprocess.run(argv, env=environment, capture_output=True, text=True, errors="replace", check=False)
    assert ended.returncode == 0, f"{argv} ended with {ended.returncode}: {ended.stderr}"
    return ended.stdout


@contextmanager
def open_descriptor(path: Path, above: int | None = None) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY, dir_fd=above)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def mounted_btrfs(folder: Path) -> Iterator[Btrfs]:
    """Mount an empty btrfs in `folder`; afterwards unmount all of it and free its loop device."""
    made = Btrfs(folder)
    try:
        made.make()
        yield made
    finally:
        # `mount` made the loop device, which ends with the last of its mounts. `--lazy` also unmounts the mounts
        # beneath.
        while made.top.is_mount():
            run("umount", "--lazy", str(made.top))
        with suppress(FileNotFoundError):
            os.unlink(made.image)
