"""The paths of subvolumes from the top of a btrfs, found in its trees.

Every local user who can write to the file system can nest subvolumes and folders thousands deep. So a path has a bound,
each folder on the way is read once, and all reads together wait only for a short time.
"""

import struct
import time
from collections.abc import Mapping

from snapmanage.drivers.btrfs.search import MAX_U64, search, unpack

TOP = 5
"""The number of the topmost subvolume."""

TOP_INODE = 256
"""The number of the inode at the top of each subvolume; files have greater numbers."""

MAX_PATH_BYTES = 4095
"""The longest path that Linux accepts."""

MAX_NAME_BYTES = 255

MAX_FOLDERS = 256
"""The deepest folder in its subvolume. Paths have no such limit, but each folder takes time."""

TOO_LONG = b"/"
"""Stands for a path beyond its bounds; no real path begins with a slash."""

TRIES, PAUSE_SECONDS = 50, 0.001
"""A rename removes one name before it adds the other, within microseconds."""

_INODE_REF = 12
_REFERENCES_AT = struct.Struct("<8xH")

# The parent subvolume, the inode of the directory in it, and the name in that directory.
Place = tuple[int, int, bytes]


def is_valid_path(name: str) -> bool:
    """Return whether a subvolume in a folder can have this path."""
    try:
        parts = name.encode().split(b"/")
    except UnicodeEncodeError:
        return False
    return "\0" not in name and all(part not in (b"", b".", b"..") and len(part) <= MAX_NAME_BYTES for part in parts)


def is_text(name: str) -> bool:
    """Return whether the name can be sent to a process and to the kernel."""
    try:
        return b"\0" not in name.encode()
    except UnicodeEncodeError:
        return False


class Paths:
    """Finds the paths of subvolumes from the top; `TOO_LONG` stands for each one of more than `longest_bytes`."""

    def __init__(self, fd: int, places: Mapping[int, Place], longest_bytes: int) -> None:
        self._fd = fd
        self._places = places
        self._longest_bytes = longest_bytes
        self._paths: dict[int, bytes | None] = {TOP: b""}
        # The inode of the folder above, and the name in that, for each folder.
        self._names: dict[tuple[int, int], tuple[int, bytes] | None] = {}
        # Subvolumes of one folder often follow each other.
        self._last_folder: tuple[tuple[int, int], bytes | None] = (TOP, TOP_INODE), b""
        self._tries = TRIES

    def of(self, number: int) -> bytes | None:
        """Return the path of a subvolume; None where it can't be read."""
        chain: list[int] = []
        while number not in self._paths:
            # Subvolumes that are moved meanwhile may seem to contain one another; this ends the loop.
            self._paths[number] = None
            if number not in self._places:
                break
            chain.append(number)
            number = self._places[number][0]
        for each in reversed(chain):
            parent, directory, name = self._places[each]
            above = self._paths[parent]
            if above in (None, TOO_LONG):
                self._paths[each] = above
                continue
            path = joined(above, self._folder(parent, directory), name)
            self._paths[each] = TOO_LONG if path and len(path) > self._longest_bytes else path
        return self._paths[chain[0]] if chain else self._paths[number]

    def _folder(self, tree: int, inode: int) -> bytes | None:
        key = tree, inode
        if self._last_folder[0] != key:
            self._last_folder = key, self._read_folder(tree, inode)
        return self._last_folder[1]

    def _read_folder(self, tree: int, inode: int) -> bytes | None:
        """Return the path of a directory inside its subvolume; None where it can't be read."""
        names: list[bytes] = []
        while inode != TOP_INODE:
            if (entry := self._entry(tree, inode)) is None:
                return None
            inode, name = entry
            names.append(name)
            # Directories that are moved meanwhile may seem to contain one another; this ends the loop.
            if len(names) > MAX_FOLDERS:
                return TOO_LONG
        return b"/".join(reversed(names))

    def _entry(self, tree: int, inode: int) -> tuple[int, bytes] | None:
        key = tree, inode
        if key not in self._names:
            self._names[key] = self._read_entry(tree, inode)
        return self._names[key]

    def _read_entry(self, tree: int, inode: int) -> tuple[int, bytes] | None:
        """Return the folder above a directory and the name in that; None where it was removed or can't be read."""
        try:
            while True:
                for (_, _, above), item in search(self._fd, tree, (inode, _INODE_REF, 0), (inode, _INODE_REF, MAX_U64)):
                    return above, item[_REFERENCES_AT.size :][: unpack(_REFERENCES_AT, item)[0]]
                if not self._tries:
                    return None
                self._tries -= 1
                time.sleep(PAUSE_SECONDS)
        except OSError:
            return None


def path_here(fd: int, places: Mapping[int, Place], tree: int, inside: bytes) -> bytes | None:
    """Return the path of an open directory, which is at `inside` in its subvolume; None where it was removed."""
    # A mounted subvolume, and the folder in it, have a path each.
    path = joined(Paths(fd, places, 2 * MAX_PATH_BYTES).of(tree), inside)
    return None if path == TOO_LONG else path


def joined(*parts: bytes | None) -> bytes | None:
    if TOO_LONG in parts:
        return TOO_LONG
    return None if None in parts else b"/".join(part for part in parts if part)
