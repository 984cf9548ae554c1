"""A subvolume of a btrfs as seen from a folder: its name there, and the obstacles to renaming it.

`members` calls this module as root.
"""

import os
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from snapmanage.drivers.btrfs import obstacles
from snapmanage.drivers.btrfs.paths import TOO_LONG
from snapmanage.drivers.btrfs.trees import Subvolume

ITSELF = "."
"""The name of the subvolume whose top is the folder."""

ESCAPED = "./"
"""The beginning of a substitute for a name that isn't UTF-8 or is unreadable; no real name begins like this."""

OUTSIDE = "/"
"""The beginning of the name of a subvolume outside of the folder. The rest is its path from the top.

A subvolume counts as outside if its path is too long for Linux. Every user can make such paths, also in the folder.
"""


class Member(NamedTuple):
    """A subvolume in the folder, at any depth, or a requested one outside of it.

    `name` is its path from the folder. A parent outside of the folder has its path from the top, after a slash; a
    deleted parent has neither name nor identity. `has_snapshots` means that it is a parent of others; None if that
    isn't known. `size_bytes` is None without quotas and during their count; `counting` is a value of `quotas.Counting`.
    `in_use` and `fault` are reasons why the subvolume can't be renamed; both are empty where it can.
    `taken_at` and `description` are notes of snapper about a snapshot.
    """

    name: str
    identity: str
    is_snapshot: bool
    parent: str | None
    parent_identity: str | None
    has_snapshots: bool | None
    read_only: bool
    born: float
    size_bytes: int | None
    counting: str
    in_use: str
    fault: str
    taken_at: float = 0.0
    description: str = ""


class Known(Protocol):
    """The subvolumes of a file system, of which a view needs some to describe another."""

    def numbered(self, number: int) -> Subvolume | None:
        """Return the subvolume with this number."""

    def identified(self, identity: str) -> Subvolume | None:
        """Return the subvolume with this identity, which isn't empty."""

    def is_parent(self, identity: str) -> bool | None:
        """Return whether a snapshot was made from this subvolume; None if that isn't known."""


class Whole:
    """All subvolumes of a file system, as one search has read them."""

    def __init__(self, found: Iterable[Subvolume]) -> None:
        self._by_number = {each.number: each for each in found}
        self._by_identity = {each.identity: each for each in self._by_number.values() if each.identity}
        self._parents = {each.parent_identity for each in self._by_number.values()}

    def numbered(self, number: int) -> Subvolume | None:
        return self._by_number.get(number)

    def identified(self, identity: str) -> Subvolume | None:
        return self._by_identity.get(identity)

    def is_parent(self, identity: str) -> bool | None:
        return identity in self._parents


class View:
    """The subvolumes of a file system, seen from an open folder."""

    def __init__(self, fd: int, here: bytes, known: Known) -> None:
        self._fd = fd
        self._here = here
        self._known = known
        self._in_use = obstacles.paths_in_use(fd)
        self._writable = not os.fstatvfs(fd).f_flag & os.ST_RDONLY
        self._obstacles: dict[str, str] = {}

    def name(self, each: Subvolume) -> str:
        """Return the path from the folder, or from the top after a slash. No two subvolumes have one name."""
        if each.path is None:
            return f"{ESCAPED}subvolume {each.number}"
        if each.path == TOO_LONG:
            return f"{OUTSIDE}{ESCAPED}subvolume {each.number}"
        if each.path == self._here:
            return ITSELF
        if not self._here or each.path.startswith(self._here + b"/"):
            return _text(each.path[len(self._here) :].lstrip(b"/"))
        return OUTSIDE + _text(each.path)

    def identity(self, each: Subvolume) -> str:
        return each.identity or f"subvolume-{each.number}"

    def member(self, name: str, each: Subvolume) -> Member:
        parent = self._known.identified(each.parent_identity) if each.parent_identity else None
        return Member(
            name=name,
            identity=self.identity(each),
            is_snapshot=each.is_snapshot,
            parent=self.name(parent) if parent else None,
            parent_identity=parent.identity if parent else None,
            has_snapshots=self._known.is_parent(each.identity) if each.identity else False,
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
        if name.startswith(ESCAPED):
            return "its name, or that of a folder above it, isn't UTF-8; rename it"
        if not self._writable:
            return "the file system is mounted read-only; mount it writable"
        within = self._known.numbered(each.within)
        if within and within.read_only:
            return f"it lies in the read-only subvolume {self.name(within)!r}; move it, or make that one writable"
        place = name.rpartition("/")[0]
        if place not in self._obstacles:
            self._obstacles[place] = obstacles.of_folder(self._fd, place)
        return self._obstacles[place]


def _text(path: bytes) -> str:
    """Return the path as text; one that isn't UTF-8 is escaped, so that no two paths share a text."""
    try:
        return path.decode()
    except UnicodeDecodeError:
        return ESCAPED + path.replace(b"\\", b"\\\\").decode(errors="backslashreplace")
