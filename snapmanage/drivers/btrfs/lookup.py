"""Single subvolumes of a btrfs, found by a name in a folder, by number or by identity.

A lookup reads a few items, however many subvolumes the file system has. It needs no permission on a subvolume, only on
the folder that has its name. A lookup that these items can't decide raises `Unclear`, or returns the name as undecided;
then the caller reads all subvolumes with `trees`. Errors are plain `OSError`s.
"""

import os
import struct
import uuid
from collections.abc import Iterator, Mapping, Sequence

from snapmanage.drivers.btrfs import quotas, trees
from snapmanage.drivers.btrfs.paths import (
    MAX_FOLDERS,
    MAX_PATH_BYTES,
    TOP,
    TOP_INODE,
    Paths,
    Place,
    is_valid_path,
    joined,
    path_here,
)
from snapmanage.drivers.btrfs.search import directory_path, search, unpack
from snapmanage.drivers.btrfs.trees import Subvolume
from snapmanage.drivers.system import syscalls

_UUID_TREE = 9
_DIR_ITEM, _ROOT_ITEM, _UUID_KEY_SUBVOL = 84, 132, 251
# Number and type of the object; lengths of data and name, which follow; type of the entry.
_ENTRY = struct.Struct("<QB16xHHx")
_UUID_KEY = struct.Struct("<QQ")
_NUMBER = struct.Struct("<Q")
# A subvolume may get another name between the reads of the folder and of the subvolume.
_TRIES = 3

# The number of the subvolume that has a directory, and the directory's inode.
Directory = tuple[int, int]


def _crc32c_table() -> Iterator[int]:
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


_CRC32C = tuple(_crc32c_table())


class Unclear(Exception):
    """Only a search of all subvolumes can decide."""


class Lookup:
    """Looks up subvolumes of the file system of an open folder, and reads each at most once.

    `here` is the path of the folder from the top; None where it was removed.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._places = _Places(fd)
        self.here = path_here(fd, self._places, *directory_path(fd, 0, os.fstat(fd).st_ino))
        self._paths = Paths(fd, self._places, len(self.here or b"") + len("/") + MAX_PATH_BYTES)
        self._numbered: dict[int, Subvolume | None] = {}
        self._identified: dict[str, Subvolume] = {}

    def named(self, names: Sequence[str]) -> tuple[dict[str, Subvolume], set[str]]:
        """Return the subvolumes with these paths from the folder, with their counts, and the undecided paths.

        Leave out free paths. Of two paths of one subvolume, which was renamed meanwhile, return the later one.
        """
        found: dict[int, tuple[str, Subvolume]] = {}
        undecided = set[str]()
        directories: dict[str, Directory | None] = {}
        for name in names:
            try:
                place, _ = self._parted(name)
                if place not in directories:
                    directories[place] = self._directory(place)
                directory = directories[place]
                if directory and (each := self._in_directory(directory, name)):
                    found[each.number] = name, each
            except (OSError, Unclear):
                # An error of one name must not change another.
                undecided.add(name)
        return dict(found.values()), undecided

    def numbered(self, number: int) -> Subvolume | None:
        """Return a subvolume without its count; None for one that doesn't exist."""
        if number not in self._numbered:
            self._numbered[number] = self._read(number)
        return self._numbered[number]

    def identified(self, identity: str) -> Subvolume:
        """Return the subvolume with this identity, without its count.

        The tree of UUIDs may lack a subvolume that an old kernel made, until the kernel has added it.
        """
        if identity not in self._identified:
            found = [self.numbered(number) for number in _numbers(self._fd, identity)]
            same = [each for each in found if each and each.identity == identity]
            if len(same) != 1:
                raise Unclear
            self._identified[identity] = same[0]
        return self._identified[identity]

    def is_parent(self, identity: str) -> bool | None:
        """Return None: no tree of btrfs leads from a subvolume to its snapshots."""
        return None

    def _parted(self, name: str) -> tuple[str, str]:
        """Return the path of the folder that has `name`, and the last part; raise `Unclear` beyond `paths`' bounds."""
        path = joined(self.here, name.encode()) if is_valid_path(name) else None
        if path is None or len(name.encode()) > MAX_PATH_BYTES or path.count(b"/") > MAX_FOLDERS:
            raise Unclear
        place, _, last = name.rpartition("/")
        return place, last

    def _directory(self, place: str) -> Directory | None:
        """Return a folder beneath the open one; None if there is none."""
        try:
            inner = syscalls.open_directory_beneath(self._fd, place) if place else os.dup(self._fd)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return directory_of(inner)
        finally:
            os.close(inner)

    def _in_directory(self, directory: Directory, name: str) -> Subvolume | None:
        if (found := read_entry(self._fd, directory, self._parted(name)[1])) is None:
            return None
        number, (offset, item), place = found
        count = quotas.count(self._fd, number)
        return trees.subvolume(number, offset, item, joined(self.here, name.encode()), place, count)

    def _read(self, number: int) -> Subvolume | None:
        roots, _ = trees.items(self._fd, number, number)
        if number not in roots:
            return None
        place = self._places.get(number)
        if number != TOP and place is None:
            # It is being deleted, or is between two names.
            raise Unclear
        return trees.subvolume(number, *roots[number], self._paths.of(number), place, None)


class _Places(Mapping[int, Place]):
    """The places of subvolumes by their numbers, each read when it is needed."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._known: dict[int, Place] = {}

    def __getitem__(self, number: int) -> Place:
        if number not in self._known:
            self._known |= trees.items(self._fd, number, number)[1]
        return self._known[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def identity(folder: int, name: str) -> str | None:
    """Return the identity of the subvolume with a name in an open folder; None if there is none, or none is clear."""
    try:
        found = read_entry(folder, directory_of(folder), name)
    except Unclear:
        return None
    if found is None:
        return None
    number, (offset, item), place = found
    each = trees.subvolume(number, offset, item, None, place, None)
    return each.identity if each else None


def directory_of(fd: int) -> Directory:
    """Return the place of an open directory in the trees."""
    return directory_path(fd, 0, TOP_INODE)[0], os.fstat(fd).st_ino


def read_entry(fd: int, directory: Directory, name: str) -> tuple[int, tuple[int, bytes], Place] | None:
    """Return number, root item and place of the subvolume with a name in a directory; None if there is none.

    In a snapshot, the names of subvolumes inside its parent are left over as empty folders; they raise `Unclear`.
    """
    wanted = *directory, os.fsencode(name)
    for _ in range(_TRIES):
        if (number := _number(fd, wanted)) is None:
            return None
        roots, places = trees.items(fd, number, number, within=directory[0])
        if number in roots and places.get(number) == wanted:
            return number, roots[number], wanted
    raise Unclear


def name_hash(name: bytes) -> int:
    """Return the hash of a name in a directory: CRC-32C from a start of its own, without the inversion at the end."""
    crc = 0xFFFFFFFE
    for byte in name:
        crc = crc >> 8 ^ _CRC32C[(crc ^ byte) & 255]
    return crc


def _number(fd: int, place: Place) -> int | None:
    """Return the number of the subvolume that a directory has under a name; None if there is none."""
    tree, inode, name = place
    key = inode, _DIR_ITEM, name_hash(name)
    for _, item in search(fd, tree, key, key):
        at = 0
        # Names with the same hash share an item.
        while at < len(item):
            number, kind, data, length = unpack(_ENTRY, item, at)
            at += _ENTRY.size
            if kind == _ROOT_ITEM and item[at : at + length] == name:
                return int(number)
            at += length + data
    return None


def _numbers(fd: int, identity: str) -> list[int]:
    """Return the numbers that the tree of UUIDs has for an identity."""
    low, high = _UUID_KEY.unpack(uuid.UUID(identity).bytes)
    key = low, _UUID_KEY_SUBVOL, high
    return [
        number
        for _, item in search(fd, _UUID_TREE, key, key)
        for (number,) in _NUMBER.iter_unpack(item[: len(item) & ~7])
    ]
