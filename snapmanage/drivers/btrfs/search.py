"""Calls of `ioctl` to a btrfs: its identity, the items of its trees, the paths of its directories.

Keys, items and calls have the forms of the kernel's headers `linux/btrfs.h` and `linux/btrfs_tree.h`, which are
stable. Searching trees requires CAP_SYS_ADMIN and no permission on files. Errors are plain `OSError`s.
"""

import errno
import fcntl
import os
import struct
import uuid
from collections.abc import Iterator
from typing import Any

MAX_U64 = 2**64 - 1

# Tree; minimum and maximum of object, offset and transaction; those of the type; number of items; size of the buffer.
_SEARCH = struct.Struct("=7Q3I36xQ")
# Transaction, object, offset, type, length.
_HEADER = struct.Struct("=QQQII")
_INO_LOOKUP = struct.Struct("=QQ4080s")
_FS_INFO = struct.Struct("=16x16s992x")

_BUFFER_BYTES = 1024**2
# For the items of one object. The kernel refuses an item that doesn't fit, and the largest one fills a node of 64 KiB.
# Clearing a large buffer takes longer than such a search.
_SMALL_BUFFER_BYTES = 66 * 1024

# Object, type, offset.
Key = tuple[int, int, int]


def uuid_text(raw: bytes) -> str:
    """Return the text of a UUID from the 16 bytes in an item or a structure."""
    return str(uuid.UUID(bytes=raw))


def unpack(form: struct.Struct, raw: bytes | bytearray, at: int = 0) -> tuple[Any, ...]:
    """Return the fields of an item; raise EUCLEAN, as the kernel does for damaged metadata, if it is too short."""
    if len(raw) - at < form.size:
        raise OSError(errno.EUCLEAN, os.strerror(errno.EUCLEAN))
    return form.unpack_from(raw, at)


def file_system(fd: int) -> str:
    """Return the UUID of the file system of an open file; raise ENOTTY where it is not a btrfs."""
    answer = bytearray(_FS_INFO.size)
    fcntl.ioctl(fd, _request(31, _FS_INFO.size, writes=False), answer)
    return uuid_text(_FS_INFO.unpack(answer)[0])


def directory_path(fd: int, tree: int, inode: int) -> tuple[int, bytes]:
    """Return the tree of a directory and its path in that tree; `tree` 0 means the tree of the open file.

    Raise ENOENT for a missing directory, ENAMETOOLONG for a path of more than about 4,000 bytes. The kernel reads each
    folder on the way anew, so this is too slow for the deep folders that any user can make.
    """
    arguments = bytearray(_INO_LOOKUP.pack(tree, inode, b""))
    fcntl.ioctl(fd, _request(18, _INO_LOOKUP.size), arguments)
    tree, _, path = _INO_LOOKUP.unpack(arguments)
    return tree, path.partition(b"\0")[0].rstrip(b"/")


def search(fd: int, tree: int, first: Key, last: Key) -> Iterator[tuple[Key, bytes]]:
    """Yield the items of a tree from one key to another; raise ENOENT where there is no such tree."""
    # Object 0 has the counts of all subvolumes.
    few = first[:2] == last[:2] or first[0] == last[0] != 0
    size = _SMALL_BUFFER_BYTES if few else _BUFFER_BYTES
    buffer = bytearray(_SEARCH.size + size)
    key: Key | None = first
    while key is not None:
        request = (tree, key[0], last[0], key[2], last[2], 0, MAX_U64, key[1], last[1], 2**32 - 1, size)
        _SEARCH.pack_into(buffer, 0, *request)
        fcntl.ioctl(fd, _request(17, _SEARCH.size), buffer)
        key = None
        at = _SEARCH.size
        for _ in range(_SEARCH.unpack_from(buffer)[9]):
            _, number, offset, kind, length = unpack(_HEADER, buffer, at)
            start = at + _HEADER.size
            at = start + length
            yield (number, kind, offset), bytes(buffer[start:at])
            key = _next_key(number, kind, offset) if (number, kind, offset) < last else None


def _next_key(number: int, kind: int, offset: int) -> Key:
    if offset < MAX_U64:
        return number, kind, offset + 1
    return (number, kind + 1, 0) if kind < 255 else (number + 1, 0, 0)


def _request(number: int, size: int, writes: bool = True) -> int:
    """Return the number of an `ioctl` of btrfs, as `_IOWR` and `_IOR` make it on most machines."""
    return ((3 if writes else 2) << 30) | (size << 16) | (0x94 << 8) | number
