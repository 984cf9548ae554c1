"""The subvolumes of a btrfs as seen from a folder on it: their names there, and the obstacles to renaming each.

`folder` calls this module as root.
"""

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import astuple, dataclass, replace

from snapmanage.drivers.btrfs import obstacles, snapper, trees
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

MOST_LISTED_BYTES = 64 * 1024**2
"""The most text in a listing. Beyond it, the subvolumes in the entry of the folder that has most text are left out.

A user can fill a volume of its own with snapshots, and a reply of the helper has a limit too.
"""


@dataclass(frozen=True)
class Member:
    """A subvolume in the folder, at any depth, or a requested one outside of it.

    `name` is its path from the folder. A parent outside of the folder has its path from the top, after a slash; a
    deleted parent has neither name nor identity. `has_snapshots` means that it is a parent of others.
    `size_bytes` is None without quotas and during their count; `counting` is a value of `quotas.Counting`.
    `in_use` and `fault` are reasons why the subvolume can't be renamed; both are empty where it can.
    `taken_at` and `description` are notes of snapper about a snapshot.
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
    taken_at: float = 0.0
    description: str = ""


def read(fd: int, names: Collection[str]) -> list[Member] | None:
    """Return the snapshots in an open folder; with `names`, the subvolumes of these names, also outside of the folder.

    Return None where the folder was removed. If the snapshots have too much text, a member with a `fault` stands for
    those that are left out. One search reads everything, so that a subvolume that is renamed meanwhile
    is seen under one of its names. Raise `OSError`.
    """
    here, found = trees.read(fd)
    if here is None:
        return None
    view = _View(fd, here, found)
    named = ((view.name(each), each) for each in found)
    if names:
        return [_noted(fd, view.member(name, each)) for name, each in named if name in names]
    listed = (view.member(name, each) for name, each in named if _is_listed(name, each))
    return _fitting([_noted(fd, each) for each in listed], "snapshots")


def read_volumes(fd: int) -> list[Member] | None:
    """Return the volumes in an open folder like the snapshots that `read` returns.

    Of snapshots, only those are volumes that have snapshots of their own. A subvolume outside of the folder is a volume
    if a snapshot in the folder was made from it.
    """
    here, found = trees.read(fd)
    if here is None:
        return None
    view = _View(fd, here, found)
    named = [(view.name(each), each) for each in found]
    parents = {each.parent_identity for name, each in named if _is_listed(name, each)} - {None}
    members = [
        view.member(name, each) for name, each in named if not name.startswith(OUTSIDE) or each.identity in parents
    ]
    # Obstacles to a rename don't matter, since a volume keeps its name.
    volumes = [replace(each, in_use="", fault="") for each in members if not each.is_snapshot or each.has_snapshots]
    return _fitting(volumes, "volumes")


def names_and_identities(fd: int) -> list[tuple[str, str]] | None:
    """Return name and identity of every subvolume of the file system; None where the open folder was removed.

    Raise `OSError`.
    """
    here, found = trees.read(fd)
    if here is None:
        return None
    view = _View(fd, here, found)
    return [(view.name(each), view.identity(each)) for each in found]


def _noted(fd: int, member: Member) -> Member:
    """Return the member with the notes about it; an escaped name could be the path of another one."""
    if not member.is_snapshot or member.name.startswith((ESCAPED, OUTSIDE)):
        return member
    notes = snapper.notes(fd, member.name)
    if notes == snapper.NO_NOTES:
        return member
    return replace(member, taken_at=notes.taken_at, description=notes.description)


def _is_listed(name: str, each: Subvolume) -> bool:
    # The subvolume whose top is the folder has no name in the folder that could be changed.
    return each.is_snapshot and name != ITSELF and not name.startswith(OUTSIDE)


def _fitting(found: list[Member], kind: str) -> list[Member]:
    """Return the members, or those that fit into a listing with one member for the rest; all are of one `kind`."""
    sizes = Counter[str]()
    for each in found:
        sizes[_entry(each)] += sum(len(field.encode()) for field in astuple(each) if isinstance(field, str))
    largest = sizes.most_common()
    total, left_out = sizes.total(), set[str]()
    for entry, size in largest:
        if total <= MOST_LISTED_BYTES:
            break
        left_out.add(entry)
        total -= size
    kept = [each for each in found if _entry(each) not in left_out]
    return [*kept, _rest(kind, len(found) - len(kept), largest[0][0])] if left_out else found


def _entry(member: Member) -> str:
    """Return the entry of the folder that has the member."""
    return member.name.partition("/")[0]


def _rest(kind: str, count: int, entry: str) -> Member:
    fault = (
        f"it stands for {count} {kind} that are not listed, since they have too much text; most of it is in "
        f"{entry!r}: remove {kind} there"
    )
    name, identity = f"{ESCAPED}more {kind}", f"more-{kind}"
    return Member(name, identity, True, None, None, False, True, 0.0, None, "", "", fault)


class _View:
    """The subvolumes of a file system, seen from an open folder."""

    def __init__(self, fd: int, here: bytes, found: list[Subvolume]) -> None:
        self._fd = fd
        self._here = here
        self._by_identity = {each.identity: each for each in found if each.identity}
        self._by_number = {each.number: each for each in found}
        self._parents = {each.parent_identity for each in found}
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
        if name.startswith(ESCAPED):
            return "its name, or that of a folder above it, isn't UTF-8; rename it"
        if not self._writable:
            return "the file system is mounted read-only; mount it writable"
        within = self._by_number.get(each.within)
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
