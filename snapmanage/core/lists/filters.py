"""The filters of a list of manageable snapshots or volumes, and the part of the list that is a page."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeVar

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, BackendVolume, belongs
from snapmanage.core.lists.selectors import PARAMETERS, Selectors
from snapmanage.core.lists.sorting import BY_REFERENCE, Sort, order
from snapmanage.core.origins.patterns import Origin
from snapmanage.core.origins.protection import NO_ORIGINS
from snapmanage.core.records import Volume
from snapmanage.core.reference import Reference
from snapmanage.core.values.text import cut

T = TypeVar("T")
Listed = BackendSnapshot | BackendVolume
Recognise = Callable[[BackendSnapshot], Origin | None]

# Entries in one answer of a server; [api] osapi_max_limit is lower, since the API requires one entry more than a page.
MOST_ENTRIES = 10_001
# The beginning of the error with which a server refuses filters that its release does not know.
UNKNOWN_FILTERS = "filters can't be"
# Characters. The filter is compared with each name of a backend.
LONGEST_NAME_PART = 255


@dataclass(frozen=True)
class Filters:
    """The filters of a list; a filter that is None or empty passes every entry.

    `name_part` ignores the case. `volume_id` comes from the request, `volume` is its record. Times are exclusive;
    an object without a time passes no filter of times.
    """

    name_part: str = ""
    volume_id: str | None = None
    volume: Volume | None = None
    safe_to_manage: bool | None = None
    created_before: datetime | None = None
    created_after: datetime | None = None
    selectors: Selectors = field(default_factory=Selectors)

    def __post_init__(self) -> None:
        if len(self.name_part) > LONGEST_NAME_PART:
            raise errors.InvalidRequest(
                f"name~ has {len(self.name_part)} characters; the limit is {LONGEST_NAME_PART}, so send a shorter part"
            )

    @cached_property
    def _folded(self) -> str:
        return self.name_part.casefold()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Filters":
        """Read the result of `as_wire`; raise `InvalidRequest` for other filters or types."""
        own = {name: value for name, value in given.items() if name not in PARAMETERS}
        read: dict[str, Any] = {name: moment(name, value) if name in _TIMES else value for name, value in own.items()}
        if not read.keys() <= _WIRE_FIELDS or any(not isinstance(read.get(name, ""), str) for name in _TEXTS):
            raise errors.InvalidRequest(
                f"{UNKNOWN_FILTERS} {cut(repr(dict(given)))}; "
                f"use texts and times for these: {', '.join(sorted(_WIRE_FIELDS))}"
            )
        return cls(**read, selectors=Selectors.of(given))

    def as_wire(self) -> dict[str, Any]:
        """Return the filters in use, in the types of JSON."""
        given = {name: getattr(self, name) for name in sorted(_WIRE_FIELDS)}
        given |= {name: given[name].isoformat() for name in _TIMES if given[name]}
        return {name: value for name, value in given.items() if value not in (None, "")} | self.selectors.as_wire()

    def passes(self, found: Listed, origin_of: Recognise = NO_ORIGINS.of) -> bool:
        """Return whether an object passes all filters but `safe_to_manage`, which depends on the owners.

        `origin_of` is called only if the other filters pass.
        """
        return (
            self._folded in found.name.casefold()
            and self.selectors.select(found.name, found.size_gb, _parent(found))
            and (self.volume is None or _is_snapshot_of(found, self.volume))
            and (self.created_before is None or _earlier(found.created_at, self.created_before))
            and (self.created_after is None or _earlier(self.created_after, found.created_at))
            and (not self.selectors.need_origin or self._of_origin(_origin(found, origin_of)))
        )

    def _of_origin(self, origin: Origin | None) -> bool:
        return origin is not None and self.selectors.select_origin(origin.tool, origin.class_name)


_TEXTS = {"name_part", "volume_id"}
_TIMES = {"created_before", "created_after"}
_WIRE_FIELDS = _TEXTS | _TIMES | {"safe_to_manage"}


@dataclass(frozen=True)
class Page:
    """The part of a list to return, and its order; `limit` None means all entries."""

    marker: Reference | None = None
    limit: int | None = None
    offset: int = 0
    sort: Sort = BY_REFERENCE
    filters: Filters = field(default_factory=Filters)

    @property
    def is_later_page(self) -> bool:
        """Return whether the list has a page before this one."""
        return self.marker is not None or self.offset > 0

    @classmethod
    def of(
        cls,
        marker: Mapping[str, Any] | None,
        limit: int | None,
        offset: int,
        sort_keys: Sequence[str],
        sort_dirs: Sequence[str],
        filters: Mapping[str, Any],
    ) -> "Page":
        """Read the arguments of a call for a list; raise `InvalidRequest`, which names the wrong one.

        A page has at most `MOST_ENTRIES` entries.
        """
        sort = order(sort_keys, sort_dirs)
        entries = MOST_ENTRIES if limit is None else min(limit, MOST_ENTRIES)
        return cls(Reference.of(marker) if marker else None, entries, offset or 0, sort, Filters.of(filters))


def moment(name: str, text: Any) -> datetime:
    """Return a time in ISO 8601, in UTC if it has no offset; raise `InvalidRequest`, which names the parameter."""
    try:
        read = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise errors.InvalidRequest(
            f"{name} must be a time such as 2026-01-31T12:00:00Z, not {cut(repr(text))}"
        ) from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def with_next(page: Page) -> Page:
    """Return the page with one more entry, which shows whether there is a next page."""
    return page if page.limit is None else replace(page, limit=page.limit + 1)


def on_page(candidates: Iterable[T], page: Page) -> Iterator[T]:
    """Yield the candidates, which begin after the marker, that are on the page."""
    return itertools.islice(candidates, page.offset, None if page.limit is None else page.offset + page.limit)


def _earlier(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and other is not None and one < other


def _parent(found: Listed) -> str | None:
    return found.parent if isinstance(found, BackendSnapshot) else None


def _origin(found: Listed, origin_of: Recognise) -> Origin | None:
    return origin_of(found) if isinstance(found, BackendSnapshot) else None


def _is_snapshot_of(found: Listed, volume: Volume) -> bool:
    return isinstance(found, BackendSnapshot) and belongs(found, volume.backend_name, volume.backend_id) is True
