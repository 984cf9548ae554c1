"""The snapshots or volumes that one scan of a backend found, sorted once for all pages."""

import bisect
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cmp_to_key, partial
from typing import Any, Generic, TypeVar

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, BackendVolume
from snapmanage.core.lists.filters import Filters, Listed, Page
from snapmanage.core.lists.sorting import Sort
from snapmanage.core.origins.patterns import Origin
from snapmanage.core.origins.protection import NO_ORIGINS, BackendOrigins
from snapmanage.core.reference import Reference
from snapmanage.core.values.text import cut

L = TypeVar("L", BackendSnapshot, BackendVolume)


class Inventory(Generic[L]):
    """The result of one scan; several threads may read it at once."""

    def __init__(self, found: Sequence[L]) -> None:
        self._by_name: Sequence[L] = sorted(found, key=_KEYS["reference"])
        # `order` makes six different ones.
        self._orders: dict[Sort, Sequence[L]] = {}
        # By the id of the object in memory, which lives as long as the inventory.
        self._origins: dict[int, Origin | None] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def orders(self) -> int:
        """Return the number of orders that the inventory keeps."""
        return len(self._orders)

    def candidates(self, page: Page, origins: BackendOrigins = NO_ORIGINS) -> Iterator[L]:
        """Yield the objects after the marker that pass the filters, in the order of the page.

        Raise `InvalidRequest` if the scan found no object of the marker's name.
        """
        ordered = self._orders.get(page.sort) or self._orders.setdefault(page.sort, _ordered(self._by_name, page.sort))
        start = 0 if page.marker is None else self._after(ordered, page.marker, page.sort)
        rest = itertools.islice(ordered, start, None)
        if page.filters == Filters():
            return rest
        origin_of = partial(self._origin, origins)
        return (found for found in rest if page.filters.passes(found, origin_of))

    def _after(self, ordered: Sequence[L], marker: Reference, sort: Sort) -> int:
        """Return the position after the marker; raise `InvalidRequest` if no object has the marker's name."""
        with suppress(errors.InvalidReference):
            name = marker.name()
            first = bisect.bisect_left(self._by_name, name, key=_KEYS["reference"])
            if first < len(self) and self._by_name[first].name == name:
                place = _place_in(sort)
                return bisect.bisect_left(ordered, place(self._by_name[first]), key=place) + 1
        raise errors.InvalidRequest(
            f"marker {cut(marker.text)} is not in the listing (any more); start again without it"
        )

    def _origin(self, origins: BackendOrigins, found: BackendSnapshot) -> Origin | None:
        """Recognise the origin of an object once for all pages; the origins of a backend never change."""
        if id(found) not in self._origins:
            self._origins[id(found)] = origins.of(found)
        return self._origins[id(found)]


def _place_in(sort: Sort) -> Callable[[Listed], Any]:
    """Return a function whose results compare like the places of objects in `_ordered`."""

    def compare(one: Listed, other: Listed) -> int:
        for key, direction in (*sort, ("reference", "asc")):
            if (mine := _KEYS[key](one)) != (its := _KEYS[key](other)):
                return -1 if (mine < its) == (direction == "asc") else 1
        return 0

    return cmp_to_key(compare)


def _ordered(by_name: Iterable[L], sort: Sort) -> Sequence[L]:
    """Sort the objects; names decide between equal ones, so that two equal scans have one order."""
    ordered = list(by_name)
    for key, direction in reversed(sort):
        ordered.sort(key=_KEYS[key], reverse=direction == "desc")
    return ordered


_KEYS: Mapping[str, Callable[[Listed], Any]] = {
    "reference": operator.attrgetter("name"),
    "size": operator.attrgetter("size_gb"),
}
