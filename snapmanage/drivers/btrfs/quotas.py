"""What the quotas of a btrfs count, read from the quota tree."""

import struct
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from snapmanage.drivers.btrfs import search

_QUOTA_TREE = 8
_QUOTA_STATUS, _QUOTA_INFO = 240, 242
_LAST_SUBVOLUME = 2**64 - 256
_ON, _RESCAN, _INCONSISTENT, _SIMPLE = 1, 2, 4, 8
_STATUS = struct.Struct("<16xQ")
_REFERENCED = struct.Struct("<8xQ")


class Counting(Enum):
    """How far a count can be trusted; the value is the word for it."""

    DONE = ""
    UNDER_WAY = "being counted"
    INCONSISTENT = "inconsistent"


@dataclass(frozen=True)
class Count:
    """What one subvolume refers to, shared data included; None while that is being counted."""

    size_bytes: int | None
    counting: Counting = Counting.DONE


def counts(fd: int) -> dict[int, Count]:
    """Return the count of each subvolume by its number; empty where quotas are off or count something else."""
    flags, found = 0, dict[int, int]()
    with suppress(FileNotFoundError):  # there never were quotas
        first, last = (0, _QUOTA_STATUS, 0), (0, _QUOTA_INFO, _LAST_SUBVOLUME)
        for (_, kind, number), item in search.search(fd, _QUOTA_TREE, first, last):
            if kind == _QUOTA_STATUS:
                flags = _STATUS.unpack_from(item)[0]
            elif kind == _QUOTA_INFO:
                found[number] = _REFERENCED.unpack_from(item)[0]
    if flags & (_ON | _SIMPLE) != _ON:
        return {}
    return {number: _count(flags, referenced) for number, referenced in found.items()}


def _count(flags: int, referenced: int) -> Count:
    """Judge one count.

    Counting sets all counts to 0 first. Its flag reaches the tree with a commit, and may leave it before the
    counts get there. Each subvolume refers to its own root at least, so that 0 means not counted yet.
    """
    if flags & _RESCAN or not referenced:
        return Count(None, Counting.UNDER_WAY)
    return Count(referenced, Counting.INCONSISTENT if flags & _INCONSISTENT else Counting.DONE)
