"""Choose entries by their sizes, since a process holds all entries of a page in memory."""

from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

T = TypeVar("T")


def fitting(sizes: Sequence[tuple[T, int]], most: float) -> list[T]:
    """Return the first entries whose sizes add up to at most `most`, but the first entry in any case."""
    totals = accumulate(size for _, size in sizes)
    return [
        entry for place, ((entry, _), total) in enumerate(zip(sizes, totals, strict=True)) if not place or total <= most
    ]
