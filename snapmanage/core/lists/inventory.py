"""The snapshots that one scan of a backend found, sorted once for all pages."""

import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot
from snapmanage.core.lists.manageable import Filters, Page, Sort
from snapmanage.core.reference import Reference


class Inventory:
    """The result of one scan; several threads may read it at once."""

    def __init__(self, found: Sequence[BackendSnapshot]) -> None:
        self._found = found
        self._orders: dict[Sort, _Order] = {}

    def candidates(self, page: Page) -> Iterator[BackendSnapshot]:
        """Yield the snapshots after the marker that pass the filters, in the order of the page.

        Raise `InvalidRequest` if the scan found no snapshot of the marker's name.
        """
        order = self._orders.get(page.sort) or self._orders.setdefault(page.sort, _ordered(self._found, page.sort))
        start = 0 if page.marker is None else order.after(page.marker)
        rest = itertools.islice(order.snapshots, start, None)
        return rest if page.filters == Filters() else filter(page.filters.passes, rest)


@dataclass(frozen=True)
class _Order:
    """Sorted snapshots, with the position of each name."""

    snapshots: Sequence[BackendSnapshot]
    places: Mapping[str, int]

    def after(self, marker: Reference) -> int:
        """Return the position after the marker; raise `InvalidRequest` if no snapshot has the marker's name."""
        try:
            return self.places[marker.name()] + 1
        except (errors.InvalidReference, KeyError):
            raise errors.InvalidRequest(
                f"marker {marker.text} is not in the listing (any more); start again without it"
            ) from None


def _ordered(found: Iterable[BackendSnapshot], sort: Sort) -> _Order:
    """Sort the snapshots; names decide between equal ones, so that two equal scans have one order."""
    snapshots = sorted(found, key=_KEYS["reference"])
    for key, direction in reversed(sort):
        snapshots.sort(key=_KEYS[key], reverse=direction == "desc")
    return _Order(snapshots, {each.name: place for place, each in enumerate(snapshots)})


_KEYS: Mapping[str, Callable[[BackendSnapshot], Any]] = {
    "reference": operator.attrgetter("name"),
    "size": operator.attrgetter("size_gb"),
}
