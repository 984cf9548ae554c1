"""The subvolumes of a btrfs, read from its own trees, with the sizes that its quotas count.

It knows nothing of what may be managed. Errors are plain `OSError`s.

Why not the tools: libbtrfsutil's bindings exist for Debian's own Python alone and know no quotas, and
`btrfs subvolume list` prints names raw, so that one with a line break in it can pass for two.
"""

import errno
import os
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass

from snapmanage.drivers.btrfs import quotas
from snapmanage.drivers.btrfs.quotas import Count
from snapmanage.drivers.btrfs.search import MOST, looked_up, search

TOP = 5
"""The number of the subvolume above all others."""

TOP_INODE = 256
"""The inode of the directory at the top of each subvolume; files have greater ones."""

_LAST_FREE = 2**64 - 256
_ORPHANS = 2**64 - 5

_ROOT_TREE = 1
_INODE_REF, _ORPHAN_ITEM, _ROOT_ITEM, _ROOT_BACKREF = 12, 48, 132, 144
_READ_ONLY = 1

# Generation, flags, references, generation again, identity, its parent's, birth in seconds and nanoseconds.
_ROOT = struct.Struct("<160xQ40xQI19xQ16s16s60xQI")
# The directory's inode and the name's length; the name follows.
_BACKREF = struct.Struct("<Q8xH")
_REFERENCES_AT = struct.Struct("<8xH")

# A rename takes one name off before it puts the other on, within microseconds.
_TRIES, _PAUSE_SECONDS = 50, 0.001
_DEEPEST = 2048

# The subvolume and the directory's inode where it is, and its name there.
_Place = tuple[int, int, bytes]


@dataclass(frozen=True)
class Subvolume:
    """A subvolume.

    `path` leads to it from the top of the file system, without a slash in front; it is None where that
    can't be read. `identity` is empty for one that a kernel older than 3.6 made. `within` is the number
    of the subvolume where it lies, 0 for the top. A snapshot's `parent_identity` is None where its parent
    has no identity.
    """

    number: int
    identity: str
    path: bytes | None
    within: int
    is_snapshot: bool
    parent_identity: str | None
    read_only: bool
    born: float
    count: Count | None


def read(fd: int) -> tuple[bytes | None, list[Subvolume]]:
    """The path of an open directory from the top of its file system, and every subvolume of that.

    The path is None where it can't be told, since the directory is gone. What is being deleted is left out.
    """
    roots, places, deleted = _roots(fd)
    paths = _Paths(fd, places)
    counts = quotas.counts(fd)
    found = [
        _subvolume(number, offset, item, paths.of(number), places.get(number), counts.get(number))
        for number, (offset, item) in roots.items()
        if number not in deleted
    ]
    tree, inside = looked_up(fd, 0, os.fstat(fd).st_ino)
    return _joined(paths.of(tree), inside), [subvolume for subvolume in found if subvolume]


def _subvolume(
    number: int, offset: int, item: bytes, path: bytes | None, place: _Place | None, count: Count | None
) -> Subvolume | None:
    """Read one item; None where the subvolume is being deleted."""
    generation, flags, references, again, identity, parent, seconds, nanoseconds = _ROOT.unpack_from(item)
    if not references:
        return None
    # A kernel older than 3.6 knows nothing of what lies behind the second generation, and may have left it stale.
    whole = again == generation
    return Subvolume(
        number=number,
        identity=_text(identity) if whole and any(identity) else "",
        path=path,
        within=place[0] if place else 0,
        # The key of a snapshot has the transaction that made it.
        is_snapshot=offset != 0 or (whole and any(parent)),
        parent_identity=_text(parent) if whole and any(parent) else None,
        read_only=bool(flags & _READ_ONLY),
        born=seconds + nanoseconds / 10**9 if whole else 0.0,
        count=count,
    )


def _text(identity: bytes) -> str:
    digits = identity.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _roots(fd: int) -> tuple[dict[int, tuple[int, bytes]], dict[int, _Place], set[int]]:
    """Read the tree of subvolumes.

    Return the key's offset and the item of every subvolume by its number, the place of every one that has
    a place, and the numbers of what is being deleted.
    """
    roots: dict[int, tuple[int, bytes]] = {}
    places: dict[int, _Place] = {}
    first, last = (TOP, _ROOT_ITEM, 0), (_LAST_FREE, _ROOT_BACKREF, MOST)
    for (number, kind, offset), item in search(fd, _ROOT_TREE, first, last):
        if kind == _ROOT_ITEM and (number == TOP or number >= TOP_INODE):
            roots[number] = offset, item.ljust(_ROOT.size, b"\0")
        elif kind == _ROOT_BACKREF:
            places[number] = _place(offset, item)
    return roots, places, _await_places(fd, roots.keys(), places)


def _place(parent: int, item: bytes) -> _Place:
    directory, length = _BACKREF.unpack_from(item)
    return parent, directory, item[_BACKREF.size : _BACKREF.size + length]


def _await_places(fd: int, numbers: Iterable[int], places: dict[int, _Place]) -> set[int]:
    """Find the places of those that were between two names when they were read.

    What is being deleted has none; return that.
    """
    nowhere, deleted = set(numbers) - places.keys() - {TOP}, set[int]()
    for _ in range(_TRIES):
        deleted |= nowhere & _orphans(fd) if nowhere else set()
        nowhere -= places.keys() | deleted
        if not nowhere:
            break
        for number in nowhere:
            for key, item in search(fd, _ROOT_TREE, (number, _ROOT_BACKREF, 0), (number, _ROOT_BACKREF, MOST)):
                places[number] = _place(key[2], item)
        time.sleep(_PAUSE_SECONDS)
    return deleted


def _orphans(fd: int) -> set[int]:
    """The numbers of what is deleted and waits to be cleaned away."""
    return {key[2] for key, _ in search(fd, _ROOT_TREE, (_ORPHANS, _ORPHAN_ITEM, 0), (_ORPHANS, _ORPHAN_ITEM, MOST))}


class _Paths:
    """The paths of subvolumes from the top, each folder on the way looked up once."""

    def __init__(self, fd: int, places: dict[int, _Place]) -> None:
        self._fd = fd
        self._places = places
        self._paths: dict[int, bytes | None] = {TOP: b""}
        self._folders: dict[tuple[int, int], bytes | None] = {}

    def of(self, number: int) -> bytes | None:
        """The path of a subvolume; None where it has none."""
        chain: list[int] = []
        while number not in self._paths:
            # Should subvolumes that were moved meanwhile seem to lie in one another, this ends it.
            self._paths[number] = None
            if number not in self._places:
                break
            chain.append(number)
            number = self._places[number][0]
        for each in reversed(chain):
            parent, directory, name = self._places[each]
            self._paths[each] = _joined(self._paths[parent], self._folder(parent, directory), name)
        return self._paths[chain[0]] if chain else self._paths[number]

    def _folder(self, tree: int, inode: int) -> bytes | None:
        if (tree, inode) not in self._folders:
            self._folders[tree, inode] = _folder(self._fd, tree, inode)
        return self._folders[tree, inode]


def _folder(fd: int, tree: int, inode: int) -> bytes | None:
    """The path of a directory inside its subvolume; None where it is gone or can't be read."""
    for _ in range(_TRIES):
        try:
            return b"" if inode == TOP_INODE else looked_up(fd, tree, inode)[1]
        except FileNotFoundError:
            time.sleep(_PAUSE_SECONDS)
        except OSError as failure:
            return _deep_folder(fd, tree, inode) if failure.errno == errno.ENAMETOOLONG else None
    return None


def _deep_folder(fd: int, tree: int, inode: int) -> bytes | None:
    """The path of a directory that is too deep for the kernel to tell at once."""
    names: list[bytes] = []
    while inode != TOP_INODE and len(names) < _DEEPEST:
        above = next(search(fd, tree, (inode, _INODE_REF, 0), (inode, _INODE_REF, MOST)), None)
        if above is None:
            return None
        (_, _, inode), item = above
        names.append(item[_REFERENCES_AT.size : _REFERENCES_AT.size + _REFERENCES_AT.unpack_from(item)[0]])
    return b"/".join(reversed(names)) if inode == TOP_INODE else None


def _joined(*parts: bytes | None) -> bytes | None:
    return None if None in parts else b"/".join(part for part in parts if part)
