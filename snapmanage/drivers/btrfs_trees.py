"""The subvolumes of a btrfs, read from its own trees by `ioctl`, with the sizes that its quotas count.

It knows nothing of what may be managed. Keys, items and calls have the forms of the kernel's headers
`linux/btrfs.h` and `linux/btrfs_tree.h`, which the kernel keeps. Searching trees takes CAP_SYS_ADMIN,
and asks no file for permission. Errors are plain `OSError`s.

Why not the tools: libbtrfsutil's bindings exist for Debian's own Python alone and know no quotas, and
`btrfs subvolume list` prints names raw, so that one with a line break in it can pass for two.
"""

import errno
import fcntl
import os
import struct
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

TOP = 5
"""The number of the subvolume above all others."""

TOP_INODE = 256
"""The inode of the directory at the top of each subvolume; files have greater ones."""

_LAST_FREE = 2**64 - 256
_ORPHANS = 2**64 - 5
_MOST = 2**64 - 1

_ROOT_TREE, _QUOTA_TREE = 1, 8
_ORPHAN_ITEM, _ROOT_ITEM, _ROOT_BACKREF = 48, 132, 144
_QUOTA_STATUS, _QUOTA_INFO = 240, 242

_READ_ONLY = 1
_QUOTA_ON, _QUOTA_SIMPLE = 1, 8

# Tree; least and most of object, offset and transaction; least and most of type; how many; size of the buffer.
_SEARCH = struct.Struct("=7Q3I36xQ")
# Transaction, object, offset, type, length.
_HEADER = struct.Struct("=QQQII")
_INO_LOOKUP = struct.Struct("=QQ4080s")
_FS_INFO = struct.Struct("=16x16s992x")
# Generation, flags, references, generation again, identity, its parent's, birth in seconds and nanoseconds.
_ROOT = struct.Struct("<160xQ40xQI19xQ16s16s60xQI")
# The directory's inode and the name's length; the name follows.
_BACKREF = struct.Struct("<Q8xH")
_STATUS = struct.Struct("<16xQ")
_REFERENCED = struct.Struct("<8xQ")

_BUFFER_BYTES = 1024**2
# A rename takes one name off before it puts the other on, within microseconds.
_TRIES, _PAUSE_SECONDS = 50, 0.001

# Object, type, offset.
_Key = tuple[int, int, int]
# The subvolume and the directory's inode where it is, and its name there.
_Place = tuple[int, int, bytes]


@dataclass(frozen=True)
class Subvolume:
    """A subvolume; `path` leads to it from the top of the file system, without a slash in front.

    `size_bytes` is what it refers to, shared data included; None where quotas don't count that.
    """

    identity: str
    path: bytes
    parent_identity: str | None
    read_only: bool
    born: float
    size_bytes: int | None


def file_system(fd: int) -> str:
    """The identity of the file system that an open file is on; ENOTTY where it is no btrfs."""
    answer = bytearray(_FS_INFO.size)
    fcntl.ioctl(fd, _request(31, _FS_INFO.size, writes=False), answer)
    return str(uuid.UUID(bytes=_FS_INFO.unpack(answer)[0]))


def read(fd: int) -> tuple[bytes | None, list[Subvolume]]:
    """The path of an open directory from the top of its file system, and every subvolume of that.

    The path is None where it can't be told, since the directory is gone. Left out is what has no path,
    being deleted say, and what has no identity: a kernel older than 3.6 made it.
    """
    roots, places = _roots(fd)
    paths = _Paths(fd, places)
    sizes = _sizes(fd)
    found = (_subvolume(item, paths.of(number), sizes.get(number)) for number, item in roots.items())
    tree, inside = _looked_up(fd, 0, os.fstat(fd).st_ino)
    return _joined(paths.of(tree), inside), [subvolume for subvolume in found if subvolume]


def _subvolume(item: bytes, path: bytes | None, size_bytes: int | None) -> Subvolume | None:
    generation, flags, references, again, identity, parent, seconds, nanoseconds = _ROOT.unpack_from(item)
    if path is None or not references or again != generation or not any(identity):
        return None
    return Subvolume(
        identity=_text(identity),
        path=path,
        parent_identity=_text(parent) if any(parent) else None,
        read_only=bool(flags & _READ_ONLY),
        born=seconds + nanoseconds / 10**9,
        size_bytes=size_bytes,
    )


def _text(identity: bytes) -> str:
    digits = identity.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _roots(fd: int) -> tuple[dict[int, bytes], dict[int, _Place]]:
    """The item of every subvolume by its number, and the place of every one that has a place."""
    roots: dict[int, bytes] = {}
    places: dict[int, _Place] = {}
    first, last = (TOP, _ROOT_ITEM, 0), (_LAST_FREE, _ROOT_BACKREF, _MOST)
    for (number, kind, offset), item in _search(fd, _ROOT_TREE, first, last):
        if kind == _ROOT_ITEM and (number == TOP or number >= TOP_INODE) and len(item) >= _ROOT.size:
            roots[number] = item
        elif kind == _ROOT_BACKREF:
            places[number] = _place(offset, item)
    _await_places(fd, roots.keys(), places)
    return roots, places


def _place(parent: int, item: bytes) -> _Place:
    directory, length = _BACKREF.unpack_from(item)
    return parent, directory, item[_BACKREF.size : _BACKREF.size + length]


def _await_places(fd: int, numbers: Iterable[int], places: dict[int, _Place]) -> None:
    """Find the places of those that were between two names when they were read; what is being deleted has none."""
    nowhere = set(numbers) - places.keys() - {TOP}
    for _ in range(_TRIES):
        nowhere = nowhere and nowhere - places.keys() - _orphans(fd)
        if not nowhere:
            return
        for number in nowhere:
            for key, item in _search(fd, _ROOT_TREE, (number, _ROOT_BACKREF, 0), (number, _ROOT_BACKREF, _MOST)):
                places[number] = _place(key[2], item)
        time.sleep(_PAUSE_SECONDS)


def _orphans(fd: int) -> set[int]:
    """The numbers of what is deleted and waits to be cleaned away."""
    return {key[2] for key, _ in _search(fd, _ROOT_TREE, (_ORPHANS, _ORPHAN_ITEM, 0), (_ORPHANS, _ORPHAN_ITEM, _MOST))}


def _sizes(fd: int) -> dict[int, int]:
    """The bytes that each subvolume refers to; none where quotas are off, or count something else."""
    sizes: dict[int, int] = {}
    with suppress(FileNotFoundError):  # there never were quotas
        for (_, kind, number), item in _search(fd, _QUOTA_TREE, (0, _QUOTA_STATUS, 0), (0, _QUOTA_INFO, _LAST_FREE)):
            if kind == _QUOTA_STATUS and _STATUS.unpack_from(item)[0] & (_QUOTA_ON | _QUOTA_SIMPLE) != _QUOTA_ON:
                return {}
            if kind == _QUOTA_INFO:
                sizes[number] = _REFERENCED.unpack_from(item)[0]
    return sizes


class _Paths:
    """The paths of subvolumes from the top, each folder on the way looked up once."""

    def __init__(self, fd: int, places: dict[int, _Place]) -> None:
        self._fd = fd
        self._places = places
        self._paths: dict[int, bytes | None] = {TOP: b""}
        self._folders: dict[tuple[int, int], bytes | None] = {}

    def of(self, number: int) -> bytes | None:
        """The path of a subvolume; None where it has none."""
        if number not in self._paths:
            # Should subvolumes that were moved meanwhile seem to lie in one another, this ends it.
            self._paths[number] = None
            if number in self._places:
                parent, directory, name = self._places[number]
                self._paths[number] = _joined(self.of(parent), self._folder(parent, directory), name)
        return self._paths[number]

    def _folder(self, tree: int, inode: int) -> bytes | None:
        if (tree, inode) not in self._folders:
            self._folders[tree, inode] = _folder(self._fd, tree, inode)
        return self._folders[tree, inode]


def _folder(fd: int, tree: int, inode: int) -> bytes | None:
    """The path of a directory inside its subvolume; None where it is gone, or too deep for the kernel to say."""
    for _ in range(_TRIES):
        try:
            return b"" if inode == TOP_INODE else _looked_up(fd, tree, inode)[1]
        except FileNotFoundError:
            time.sleep(_PAUSE_SECONDS)
        except OSError as failure:
            if failure.errno != errno.ENAMETOOLONG:
                raise
            break
    return None


def _joined(*parts: bytes | None) -> bytes | None:
    return None if None in parts else b"/".join(part for part in parts if part)


def _looked_up(fd: int, tree: int, inode: int) -> tuple[int, bytes]:
    """A directory's tree, where 0 asks for that of the open file, and its path inside; ENOENT."""
    asked = bytearray(_INO_LOOKUP.pack(tree, inode, b""))
    fcntl.ioctl(fd, _request(18, _INO_LOOKUP.size), asked)
    tree, _, path = _INO_LOOKUP.unpack(asked)
    return tree, path.partition(b"\0")[0].rstrip(b"/")


def _search(fd: int, tree: int, first: _Key, last: _Key) -> Iterator[tuple[_Key, bytes]]:
    """The items of a tree from one key to another; ENOENT where there is no such tree."""
    buffer = bytearray(_SEARCH.size + _BUFFER_BYTES)
    key: _Key | None = first
    while key is not None:
        ask = (tree, key[0], last[0], key[2], last[2], 0, _MOST, key[1], last[1], 2**32 - 1, _BUFFER_BYTES)
        _SEARCH.pack_into(buffer, 0, *ask)
        fcntl.ioctl(fd, _request(17, _SEARCH.size), buffer)
        key = None
        at = _SEARCH.size
        for _ in range(_SEARCH.unpack_from(buffer)[9]):
            _, number, offset, kind, length = _HEADER.unpack_from(buffer, at)
            start = at + _HEADER.size
            at = start + length
            yield (number, kind, offset), bytes(buffer[start:at])
            key = _after(number, kind, offset)


def _after(number: int, kind: int, offset: int) -> _Key:
    """The least key that is greater."""
    if offset < _MOST:
        return number, kind, offset + 1
    return (number, kind + 1, 0) if kind < 255 else (number + 1, 0, 0)


def _request(number: int, size: int, writes: bool = True) -> int:
    """The number of an `ioctl` of btrfs, as `_IOWR` and `_IOR` make it on most machines."""
    return ((3 if writes else 2) << 30) | (size << 16) | (0x94 << 8) | number
