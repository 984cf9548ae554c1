"""Lists of manageable snapshots and volumes: sorted, filtered and paged as the Block Storage API does.

They have more filters than that API.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeVar

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, BackendVolume, Unsafe, belongs
from snapmanage.core.lists.selectors import PARAMETERS, Selectors
from snapmanage.core.lists.sorting import BY_REFERENCE, Sort, order
from snapmanage.core.origins.patterns import Origin
from snapmanage.core.origins.protection import NO_ORIGINS, ORIGIN_KEYS, REFUSES, BackendOrigins, with_extra_info
from snapmanage.core.records import Volume
from snapmanage.core.reference import Reference
from snapmanage.core.values.ids import ids_in
from snapmanage.core.values.text import cut, printable, time_text

T = TypeVar("T")
Listed = BackendSnapshot | BackendVolume

ALREADY_MANAGED = "already managed"
# Entries in one answer of a server; [api] osapi_max_limit is lower, since the API requires one entry more than a page.
MOST_ENTRIES = 10_001
# The beginning of the error with which a server refuses filters that its release does not know.
UNKNOWN_FILTERS = "filters can't be"
# Characters. The filter is compared with each name of a backend.
LONGEST_NAME_PART = 255
# The fields of an entry in a list without details; snapshots have `source_reference` too.
SUMMARY = ("reference", "size", "safe_to_manage")
DETAILS = ("reason_not_safe", "extra_info", "cinder_id")
# The fields that the Block Storage API does not have: strict clients refuse them.
OWN_FIELDS = ("snapmanage:identity", "snapmanage:created_at")


@dataclass(frozen=True)
class Manageable:
    """One entry of a list, such as a volume; `record_id` is set if the object is managed already.

    `identity` and `created_at` are those of the backend, None where the driver does not know them.
    """

    reference: Reference
    size_gb: int
    reason_not_safe: str | None
    record_id: str | None = None
    extra_info: Mapping[str, str] = field(default_factory=dict)
    identity: str | None = None
    created_at: datetime | None = None

    @property
    def safe_to_manage(self) -> bool:
        return self.reason_not_safe is None

    def as_wire(self, own_fields: bool = False) -> dict[str, Any]:
        """Return the whole entry with the field names of the Block Storage API, and with `OWN_FIELDS` on request."""
        created_at = time_text(self.created_at) if self.created_at else None
        own = dict(zip(OWN_FIELDS, (self.identity, created_at), strict=True)) if own_fields else {}
        return {
            "reference": self.reference.value,
            "size": self.size_gb,
            "safe_to_manage": self.safe_to_manage,
            "reason_not_safe": self.reason_not_safe,
            "extra_info": dict(self.extra_info) or None,
            "cinder_id": self.record_id,
        } | own


@dataclass(frozen=True)
class ManageableSnapshot(Manageable):
    """An entry of a list of snapshots; `source_reference` names its volume, if that still exists."""

    source_reference: Reference | None = None

    def as_wire(self, own_fields: bool = False) -> dict[str, Any]:
        entry = super().as_wire(own_fields)
        source = self.source_reference.value if self.source_reference else {}
        return {name: entry[name] for name in SUMMARY} | {"source_reference": source} | entry


@dataclass(frozen=True)
class Owned:
    """Ids of the records that own an object of a backend, by its identity and by their reference to it.

    `live` are the ids of other owners whose id is a part of an object's name: such an object belongs to them on every
    server.
    """

    identities: Mapping[str, str] = field(default_factory=dict)
    references: Mapping[str, str] = field(default_factory=dict)
    live: Set[str] = frozenset()

    def owner(self, found: Listed) -> str | None:
        """Return the id of the record that owns the object; None if no record owns it."""
        named = ids_in(found.name) & self.live if self.live else None
        return self.identities.get(found.identity) or (min(named) if named else None)


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

    def passes(self, found: Listed, origins: BackendOrigins = NO_ORIGINS) -> bool:
        """Return whether an object passes all filters but `safe_to_manage`, which depends on the owners."""
        return (
            self._folded in found.name.casefold()
            and self.selectors.select(found.name, found.size_gb, _parent(found))
            and (self.volume is None or _is_snapshot_of(found, self.volume))
            and (self.created_before is None or _earlier(found.created_at, self.created_before))
            and (self.created_after is None or _earlier(self.created_after, found.created_at))
            and (not self.selectors.need_origin or self._of_origin(_origin(found, origins)))
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


def entries(found: Iterable[Listed], owned: Owned, origins: BackendOrigins = NO_ORIGINS) -> list[Manageable]:
    """Return the entries of a backend's snapshots or volumes."""
    return [_entry(each, owned, origins) for each in found]


def on_page(candidates: Iterable[T], page: Page) -> Iterator[T]:
    """Yield the candidates, which begin after the marker, that are on the page."""
    return itertools.islice(candidates, page.offset, None if page.limit is None else page.offset + page.limit)


def page_by_safety(
    candidates: Iterable[Listed], owned: Owned, page: Page, origins: BackendOrigins = NO_ORIGINS
) -> list[Manageable]:
    """Return the page of entries that are safe to manage, or of those that aren't; `owned` must hold every owner."""
    every = (_entry(found, owned, origins) for found in candidates)
    return list(on_page((entry for entry in every if entry.safe_to_manage is page.filters.safe_to_manage), page))


def for_readers(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of `as_wire` for callers who aren't administrators.

    The entry lacks the ids of records, which may belong to other projects, and the details of the backend. Its origin
    is none of them.
    """
    reason = entry["reason_not_safe"]
    if reason is not None and not reason.startswith(f"{REFUSES}: "):
        kind = reason.partition(":")[0]
        reason = kind if kind in {each.value for each in Unsafe} else ALREADY_MANAGED
    extra = {key: value for key, value in (entry.get("extra_info") or {}).items() if key in ORIGIN_KEYS}
    return {**entry, "reason_not_safe": reason, "extra_info": extra or None, "cinder_id": None}


def _earlier(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and other is not None and one < other


def _parent(found: Listed) -> str | None:
    return found.parent if isinstance(found, BackendSnapshot) else None


def _origin(found: Listed, origins: BackendOrigins) -> Origin | None:
    return origins.of(found) if isinstance(found, BackendSnapshot) else None


def _is_snapshot_of(found: Listed, volume: Volume) -> bool:
    return isinstance(found, BackendSnapshot) and belongs(found, volume.backend_name, volume.backend_id) is True


def _entry(found: Listed, owned: Owned, origins: BackendOrigins) -> Manageable:
    reference, record_id = Reference.named(found.name), owned.owner(found)
    reason = _reason_not_safe(found, record_id, owned.references.get(reference.text))
    facts: dict[str, Any] = {"identity": found.identity or None, "created_at": found.created_at}
    if isinstance(found, BackendVolume):
        return Manageable(reference, found.size_gb, reason, record_id, found.extra, **facts)
    # The name of a managed snapshot is that of its record.
    origin = origins.of(found) if record_id is None else None
    reason = reason or origins.reason_not_safe(found, origin)
    source = Reference.named(found.parent) if found.parent else None
    extra = with_extra_info(found.extra, origin)
    return ManageableSnapshot(reference, found.size_gb, reason, record_id, extra, **facts, source_reference=source)


def _reason_not_safe(found: Listed, record_id: str | None, namesake: str | None) -> str | None:
    """Return the first reason for which a request to manage the object would be refused; None without a reason."""
    if record_id is not None:
        return ALREADY_MANAGED
    if namesake is not None:
        kind = "snapshot" if isinstance(found, BackendSnapshot) else "volume"
        return f"{kind} {namesake} is managed under this reference"
    if found.unsafe is None:
        return None
    return printable(f"{found.unsafe.value}: {found.unsafe_reason}" if found.unsafe_reason else found.unsafe.value)
