"""The subvolumes of a btrfs, read from its own trees, with the sizes that its quotas count.

This module has no rules about snapshots. Errors are plain `OSError`s.

The existing tools don't suffice. The bindings of libbtrfsutil exist for Debian's own Python only, and lack quotas.
`btrfs subvolume list` prints names raw, so that one name with a line break looks like two.
"""

import os
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass

from snapmanage.drivers.btrfs import quotas
from snapmanage.drivers.btrfs.paths import MAX_PATH_BYTES, PAUSE_SECONDS, TOP, TOP_INODE, TRIES, Paths, Place, path_here
from snapmanage.drivers.btrfs.quotas import Count
from snapmanage.drivers.btrfs.search import MAX_U64, directory_path, search, unpack, uuid_text

_LAST_FREE = 2**64 - 256
_ORPHANS = 2**64 - 5

_ROOT_TREE = 1
_ORPHAN_ITEM, _ROOT_ITEM, _ROOT_BACKREF = 48, 132, 144
_READ_ONLY = 1

# Generation, flags, references, generation again, identity, its parent's, birth in seconds and nanoseconds.
_ROOT = struct.Struct("<160xQ40xQI19xQ16s16s60xQI")
# The directory's inode and the length of the name, which follows.
_BACKREF = struct.Struct("<Q8xH")


@dataclass(frozen=True)
class Subvolume:
    """A subvolume.

    `path` begins at the top of the file system, without a slash; None where it can't be read, `paths.TOO_LONG` if its
    part in the folder has more than `paths.MAX_PATH_BYTES`. `identity` is empty if a kernel older than 3.6 made the
    subvolume. `within` is the number of the subvolume that contains it, 0 for the top. `parent_identity` of a snapshot
    is None where its parent has no identity.
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
    """Return the path of an open directory from the top of its file system, and every subvolume of that file system.

    The path is None where the directory was removed; then no subvolume is returned. Subvolumes that are being deleted
    are left out.
    """
    roots, places = items(fd, TOP, _LAST_FREE)
    deleted = _await_places(fd, roots.keys(), places)
    here = path_here(fd, places, *directory_path(fd, 0, os.fstat(fd).st_ino))
    if here is None:
        return None, []
    paths = Paths(fd, places, len(here) + len("/") + MAX_PATH_BYTES)
    counts = quotas.counts(fd)
    found = [
        subvolume(number, offset, item, paths.of(number), places.get(number), counts.get(number))
        for number, (offset, item) in roots.items()
        if number not in deleted
    ]
    return here, [each for each in found if each]


def subvolume(
    number: int, offset: int, item: bytes, path: bytes | None, place: Place | None, count: Count | None
) -> Subvolume | None:
    """Return the subvolume of one root item; None where it is being deleted."""
    generation, flags, references, again, identity, parent, seconds, nanoseconds = _ROOT.unpack_from(item)
    if not references:
        return None
    # A kernel older than 3.6 doesn't know the fields after the second generation, and may have left them stale.
    has_new_fields = again == generation
    return Subvolume(
        number=number,
        identity=uuid_text(identity) if has_new_fields and any(identity) else "",
        path=path,
        within=place[0] if place else 0,
        # The offset in the key of a snapshot is the transaction that made it.
        is_snapshot=offset != 0 or (has_new_fields and any(parent)),
        parent_identity=uuid_text(parent) if has_new_fields and any(parent) else None,
        read_only=bool(flags & _READ_ONLY),
        born=seconds + nanoseconds / 10**9 if has_new_fields else 0.0,
        count=count,
    )


def items(
    fd: int, first: int, last: int, within: int = MAX_U64
) -> tuple[dict[int, tuple[int, bytes]], dict[int, Place]]:
    """Read the tree of subvolumes, from one number to another.

    Return the key's offset and the item of every subvolume, by its number, and the places of those that have one.
    With `within`, the place of `last` is read only if it lies in a subvolume with this number or a smaller one.
    """
    roots: dict[int, tuple[int, bytes]] = {}
    places: dict[int, Place] = {}
    for (number, kind, offset), item in search(fd, _ROOT_TREE, (first, _ROOT_ITEM, 0), (last, _ROOT_BACKREF, within)):
        if kind == _ROOT_ITEM and (number == TOP or number >= TOP_INODE):
            roots[number] = offset, item.ljust(_ROOT.size, b"\0")
        elif kind == _ROOT_BACKREF:
            places[number] = _place(offset, item)
    return roots, places


def _place(parent: int, item: bytes) -> Place:
    directory, length = unpack(_BACKREF, item)
    return parent, directory, item[_BACKREF.size : _BACKREF.size + length]


def _await_places(fd: int, numbers: Iterable[int], places: dict[int, Place]) -> set[int]:
    """Add the places of subvolumes that were between two names when they were read.

    Return the subvolumes that are being deleted; they have no place.
    """
    without_place, deleted = set(numbers) - places.keys() - {TOP}, set[int]()
    for _ in range(TRIES):
        deleted |= without_place & _orphans(fd) if without_place else set()
        without_place -= places.keys() | deleted
        if not without_place:
            break
        for number in without_place:
            for key, item in search(fd, _ROOT_TREE, (number, _ROOT_BACKREF, 0), (number, _ROOT_BACKREF, MAX_U64)):
                places[number] = _place(key[2], item)
        time.sleep(PAUSE_SECONDS)
    return deleted


def _orphans(fd: int) -> set[int]:
    """Return the numbers of deleted subvolumes that btrfs hasn't cleaned up yet."""
    return {key[2] for key, _ in search(fd, _ROOT_TREE, (_ORPHANS, _ORPHAN_ITEM, 0), (_ORPHANS, _ORPHAN_ITEM, MAX_U64))}
