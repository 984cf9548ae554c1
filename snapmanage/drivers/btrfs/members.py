"""The subvolumes of a btrfs as a folder on it sees them: their names there, and what keeps each from being renamed.

`folder` calls this as root.
"""

import errno
import os
from collections.abc import Collection
from dataclasses import dataclass

from snapmanage.drivers.btrfs import trees
from snapmanage.drivers.btrfs.trees import Subvolume
from snapmanage.drivers.system import mounts, syscalls

ITSELF = "."
"""The name of the subvolume whose top the folder is."""

ODD = "./"
"""What begins the name in place of one that isn't UTF-8 or that can't be read; no real name begins so."""

OUTSIDE = "/"
"""What begins the name of a subvolume outside of the folder, its path from the top of the file system."""

LONGEST_PATH = 4095


@dataclass(frozen=True)
class Member:
    """A subvolume in the folder, at any depth, or one outside that was asked for.

    `name` is its path from the folder. A parent outside is named by its path from the top, with a slash in
    front; one that is gone has neither name nor identity. `has_snapshots` says that it is a parent itself.
    `size_bytes` is None without quotas and while they are being counted; `counting` is a value of
    `quotas.Counting`. `in_use` and `fault` say why the subvolume can't be renamed; empty where it can.
    """

    name: str
    identity: str
    is_snapshot: bool
    parent: str | None
    parent_identity: str | None
    has_snapshots: bool
    read_only: bool
    born: float
    size_bytes: int | None
    counting: str
    in_use: str
    fault: str


def read(fd: int, names: Collection[str]) -> list[Member] | None:
    """Return the subvolumes in an open folder, itself included; with names, whichever of them exists.

    Return None where the folder is gone. All is read in one go, so that what is renamed meanwhile is seen
    under one of its names. `OSError`.
    """
    here, found = trees.read(fd)
    if here is None:
        return None
    view = _View(fd, here, found)
    shown = ((view.name(each), each) for each in found)
    return [
        view.member(name, each) for name, each in shown if (name in names if names else not name.startswith(OUTSIDE))
    ]


def named(fd: int) -> list[tuple[str, str]] | None:
    """Return name and identity of every subvolume of the file system; None where the open folder is gone. `OSError`."""
    here, found = trees.read(fd)
    if here is None:
        return None
    view = _View(fd, here, found)
    return [(view.name(each), view.identity(each)) for each in found]


class _View:
    """What an open folder shows of its file system."""

    def __init__(self, fd: int, here: bytes, found: list[Subvolume]) -> None:
        self._fd = fd
        self._here = here
        self._by_identity = {each.identity: each for each in found if each.identity}
        self._by_number = {each.number: each for each in found}
        self._parents = {each.parent_identity for each in found}
        self._in_use = _in_use(fd)
        self._writable = not os.fstatvfs(fd).f_flag & os.ST_RDONLY
        self._unreachable: dict[str, str] = {}

    def name(self, each: Subvolume) -> str:
        """The path from the folder, or from the top with a slash in front; each subvolume has a name of its own."""
        if each.path is None:
            return f"{ODD}subvolume {each.number}"
        if each.path == self._here:
            return ITSELF
        if not self._here or each.path.startswith(self._here + b"/"):
            return _text(each.path[len(self._here) :].lstrip(b"/"))
        return OUTSIDE + _text(each.path)

    def identity(self, each: Subvolume) -> str:
        return each.identity or f"subvolume-{each.number}"

    def member(self, name: str, each: Subvolume) -> Member:
        parent = self._by_identity.get(each.parent_identity or "")
        return Member(
            name=name,
            identity=self.identity(each),
            is_snapshot=each.is_snapshot,
            parent=self.name(parent) if parent else None,
            parent_identity=parent.identity if parent else None,
            has_snapshots=bool(each.identity) and each.identity in self._parents,
            read_only=each.read_only,
            born=each.born,
            size_bytes=each.count.size_bytes if each.count else None,
            counting=each.count.counting.value if each.count else "",
            in_use=self._in_use.get(each.path or b"", ""),
            fault=self._fault(name, each) if each.is_snapshot else "",
        )

    def _fault(self, name: str, each: Subvolume) -> str:
        if not each.identity:
            return "it has no UUID, since a kernel older than 3.6 made it; take a snapshot of it, and use that one"
        if each.path is None:
            return "its place in the file system can't be read; see the kernel's log and run btrfs scrub"
        if name.startswith(ODD):
            return "its name, or that of a folder above it, isn't UTF-8; rename it"
        if not self._writable:
            return "the file system is mounted read-only; mount it writable"
        within = self._by_number.get(each.within)
        if within and within.read_only:
            return f"it lies in the read-only subvolume {self.name(within)!r}; move it, or make that one writable"
        place = name.rpartition("/")[0]
        if place not in self._unreachable:
            self._unreachable[place] = _unreachable(self._fd, place)
        return self._unreachable[place]


def _text(path: bytes) -> str:
    """Return the path as text; one that isn't UTF-8 is escaped, so that no two paths share a text."""
    try:
        return path.decode()
    except UnicodeDecodeError:
        return ODD + path.replace(b"\\", b"\\\\").decode(errors="backslashreplace")


def _unreachable(fd: int, place: str) -> str:
    """Why nothing can be renamed in a folder beneath an open one; empty where it can, or where it is gone by now."""
    if len(os.fsencode(place)) > LONGEST_PATH:
        return f"its folder has a path of more than {LONGEST_PATH} bytes; move it"
    try:
        inner = syscalls.open_directory_beneath(fd, place) if place else os.dup(fd)
    except FileNotFoundError:
        return ""
    except OSError as failure:
        if failure.errno == errno.EXDEV:
            return f"something else is mounted on its folder {place!r}, or above that; unmount it"
        return f"its folder {place!r} can't be opened ({failure.strerror}); let it be a folder of root's"
    try:
        if os.access(".", os.W_OK | os.X_OK, dir_fd=inner, effective_ids=True):
            return ""
    finally:
        os.close(inner)
    return f"nothing in its folder {place!r} may be renamed; let it be a folder of root's"


def _in_use(fd: int) -> dict[bytes, str]:
    """Why a path of the file system is in use: it is mounted, has something in it that is, or has a mount on it."""
    known = {mount.number: mount for mount in mounts.mounts()}
    device = known[mounts.mount_of(fd)].device
    found: dict[bytes, str] = {}
    for mount in known.values():
        point = mount.point.decode(errors="replace")
        if mount.device == device:
            parts = mount.root.strip(b"/").split(b"/")
            for length in range(1, len(parts) + 1):
                found[b"/".join(parts[:length])] = f"it is mounted at {point!r}, by itself or in part"
        above = known.get(mount.parent)
        if above and above.device == device:
            found.setdefault(_covered(mount, above), f"something is mounted on it, at {point!r}")
    return found


def _covered(mount: mounts.Mount, above: mounts.Mount) -> bytes:
    """The path, from the top of its file system, that is hidden by a mount."""
    inside = mount.point[len(above.point.rstrip(b"/")) :]
    return (above.root.rstrip(b"/") + b"/" + inside.strip(b"/")).strip(b"/")
