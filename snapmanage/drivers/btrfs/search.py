"""Questions to a btrfs by `ioctl`: which file system it is, items of its trees, paths of directories.

Keys, items and calls have the forms of the kernel's headers `linux/btrfs.h` and `linux/btrfs_tree.h`, which
the kernel keeps. Searching trees takes CAP_SYS_ADMIN, and asks no file for permission. Errors are plain
`OSError`s.
"""

import fcntl
import struct
import uuid
from collections.abc import Iterator

MOST = 2**64 - 1

# Tree; least and most of object, offset and transaction; least and most of type; how many; size of the buffer.
_SEARCH = struct.Struct("=7Q3I36xQ")
# Transaction, object, offset, type, length.
_HEADER = struct.Struct("=QQQII")
_INO_LOOKUP = struct.Struct("=QQ4080s")
_FS_INFO = struct.Struct("=16x16s992x")

_BUFFER_BYTES = 1024**2

# Object, type, offset.
Key = tuple[int, int, int]


def file_system(fd: int) -> str:
    """The identity of the file system that an open file is on; ENOTTY where it is no btrfs."""
    answer = bytearray(_FS_INFO.size)
    fcntl.ioctl(fd, _request(31, _FS_INFO.size, writes=False), answer)
    return str(uuid.UUID(bytes=_FS_INFO.unpack(answer)[0]))


def looked_up(fd: int, tree: int, inode: int) -> tuple[int, bytes]:
    """A directory's tree, where 0 asks for that of the open file, and its path inside.

    ENOENT; ENAMETOOLONG for a path of more than about 4,000 bytes.
    """
    asked = bytearray(_INO_LOOKUP.pack(tree, inode, b""))
    fcntl.ioctl(fd, _request(18, _INO_LOOKUP.size), asked)
    tree, _, path = _INO_LOOKUP.unpack(asked)
    return tree, path.partition(b"\0")[0].rstrip(b"/")


def search(fd: int, tree: int, first: Key, last: Key) -> Iterator[tuple[Key, bytes]]:
    """The items of a tree from one key to another; ENOENT where there is no such tree."""
    buffer = bytearray(_SEARCH.size + _BUFFER_BYTES)
    key: Key | None = first
    while key is not None:
        ask = (tree, key[0], last[0], key[2], last[2], 0, MOST, key[1], last[1], 2**32 - 1, _BUFFER_BYTES)
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


def _after(number: int, kind: int, offset: int) -> Key:
    """The least key that is greater."""
    if offset < MOST:
        return number, kind, offset + 1
    return (number, kind + 1, 0) if kind < 255 else (number + 1, 0, 0)


def _request(number: int, size: int, writes: bool = True) -> int:
    """The number of an `ioctl` of btrfs, as `_IOWR` and `_IOR` make it on most machines."""
    return ((3 if writes else 2) << 30) | (size << 16) | (0x94 << 8) | number
