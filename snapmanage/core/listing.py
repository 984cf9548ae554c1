"""What could be managed, sorted and paged as the Block Storage API does."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot
from snapmanage.core.reference import Reference

SORT_KEYS = ("reference", "size")
SORT_DIRECTIONS = ("asc", "desc")


@dataclass(frozen=True)
class Manageable:
    """One entry of a listing; `snapshot_id` is set where it is managed already."""

    reference: Reference
    size_gb: int
    reason_not_safe: str | None
    source_reference: Reference | None
    snapshot_id: str | None = None
    extra_info: Mapping[str, str] = field(default_factory=dict)

    @property
    def safe_to_manage(self) -> bool:
        return self.reason_not_safe is None

    def as_wire(self) -> dict[str, Any]:
        """The entry with the field names of the Block Storage API, whole."""
        return {
            "reference": self.reference.value,
            "size": self.size_gb,
            "safe_to_manage": self.safe_to_manage,
            "source_reference": self.source_reference.value if self.source_reference else {},
            "reason_not_safe": self.reason_not_safe,
            "extra_info": dict(self.extra_info) or None,
            "cinder_id": self.snapshot_id,
        }


@dataclass(frozen=True)
class Owned:
    """Ids of the snapshots that own an object of a backend, by its identity and by the reference they gave."""

    identities: Mapping[str, str] = field(default_factory=dict)
    references: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """Which part of a listing is wanted, in which order; `limit` None for all."""

    marker: Reference | None = None
    limit: int | None = None
    offset: int = 0
    sort: Sequence[tuple[str, str]] = (("reference", "desc"),)

    @classmethod
    def of(
        cls,
        marker: Mapping[str, Any] | None,
        limit: int | None,
        offset: int,
        sort_keys: Sequence[str],
        sort_dirs: Sequence[str],
    ) -> "Page":
        """Read the arguments of `get_manageable_snapshots`; `InvalidRequest` names the bad one."""
        check_sort(sort_keys, sort_dirs)
        sort = tuple(zip(sort_keys, sort_dirs, strict=True)) or (("reference", "desc"),)
        return cls(Reference.of(marker) if marker else None, limit, offset or 0, sort)


def check_sort(keys: Sequence[str], directions: Sequence[str]) -> None:
    """Raise `InvalidRequest` unless a listing can be sorted so."""
    for key in keys:
        if key not in SORT_KEYS:
            raise errors.InvalidRequest(f"sort key {key!r} must be one of {', '.join(SORT_KEYS)}")
    for direction in directions:
        if direction not in SORT_DIRECTIONS:
            raise errors.InvalidRequest(f"sort direction {direction!r} must be one of {', '.join(SORT_DIRECTIONS)}")
    if len(keys) != len(directions):
        raise errors.InvalidRequest("sort needs as many directions as keys")


def manageable(found: Iterable[BackendSnapshot], owned: Owned) -> list[Manageable]:
    """Entries for what a backend holds."""
    return [_entry(snapshot, owned) for snapshot in found]


def page(entries: Iterable[Manageable], wanted: Page) -> list[Manageable]:
    """The part that is wanted; `InvalidRequest` when the marker's entry isn't there."""
    ordered = list(entries)
    for key, direction in reversed(wanted.sort):
        ordered.sort(key=_KEYS[key], reverse=direction == "desc")
    start = _after(ordered, wanted.marker) + wanted.offset
    return ordered[start:] if wanted.limit is None else ordered[start : start + wanted.limit]


_KEYS: Mapping[str, Any] = {
    "reference": lambda entry: entry.reference.text,
    "size": lambda entry: entry.size_gb,
}


def _after(ordered: Sequence[Manageable], marker: Reference | None) -> int:
    if marker is None:
        return 0
    for position, entry in enumerate(ordered):
        if entry.reference == marker:
            return position + 1
    raise errors.InvalidRequest(f"marker {marker.text} is not in the listing (any more); start again without it")


def _entry(snapshot: BackendSnapshot, owned: Owned) -> Manageable:
    reference = Reference.named(snapshot.name)
    snapshot_id = owned.identities.get(snapshot.identity)
    return Manageable(
        reference=reference,
        size_gb=snapshot.size_gb,
        reason_not_safe=_unsafe(snapshot, snapshot_id, owned.references.get(reference.text)),
        source_reference=Reference.named(snapshot.parent) if snapshot.parent else None,
        snapshot_id=snapshot_id,
        extra_info=snapshot.extra,
    )


def _unsafe(snapshot: BackendSnapshot, snapshot_id: str | None, namesake: str | None) -> str | None:
    """Why `manage` would refuse it, in the order in which it would."""
    if snapshot_id is not None:
        return "already managed"
    if namesake is not None:
        return f"snapshot {namesake} is managed under this reference"
    if snapshot.unsafe is None:
        return None
    return f"{snapshot.unsafe.value}: {snapshot.unsafe_reason}" if snapshot.unsafe_reason else snapshot.unsafe.value
