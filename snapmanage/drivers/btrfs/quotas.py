"""Sizes of subvolumes, as the quotas of a btrfs count them, read from the quota tree."""

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
    """How far a count can be trusted, in words for operators."""

    DONE = ""
    UNDER_WAY = "being counted"
    INCONSISTENT = "inconsistent"


@dataclass(frozen=True)
class Count:
    """The size of the data that one subvolume refers to, shared data included; None during the count."""

    size_bytes: int | None
    counting: Counting = Counting.DONE


def counts(fd: int) -> dict[int, Count]:
    """Return the count of each subvolume by its number; an empty dict where quotas are off or simple."""
    flags, found = 0, dict[int, int]()
    with suppress(FileNotFoundError):  # quotas were never on
        first, last = (0, _QUOTA_STATUS, 0), (0, _QUOTA_INFO, _LAST_SUBVOLUME)
        for (_, kind, number), item in search.search(fd, _QUOTA_TREE, first, last):
            if kind == _QUOTA_STATUS:
                flags = search.unpack(_STATUS, item)[0]
            elif kind == _QUOTA_INFO:
                found[number] = search.unpack(_REFERENCED, item)[0]
    if flags & (_ON | _SIMPLE) != _ON:
        return {}
    return {number: _count(flags, referenced) for number, referenced in found.items()}


def count(fd: int, number: int) -> Count | None:
    """Return the count of one subvolume; None where quotas are off or simple, or don't count it."""
    status, info = (0, _QUOTA_STATUS, 0), (0, _QUOTA_INFO, number)
    with suppress(FileNotFoundError):  # quotas were never on
        for _, item in search.search(fd, _QUOTA_TREE, status, status):
            flags = search.unpack(_STATUS, item)[0]
            if flags & (_ON | _SIMPLE) != _ON:
                return None
            for _, counted in search.search(fd, _QUOTA_TREE, info, info):
                return _count(flags, search.unpack(_REFERENCED, counted)[0])
    return None


def _count(flags: int, referenced: int) -> Count:
    """Decide how far one count can be trusted.

    A rescan first sets all counts to 0. Its flag reaches the tree with a commit, and may leave the tree before the
    counts are written. Each subvolume refers at least to its own root, so 0 means that it isn't counted yet.
    """
    if flags & _RESCAN or not referenced:
        return Count(None, Counting.UNDER_WAY)
    return Count(referenced, Counting.INCONSISTENT if flags & _INCONSISTENT else Counting.DONE)
