"""Entries of lists of manageable snapshots and volumes, as the Block Storage API has them, with their owners."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from snapmanage.core.backend import BackendSnapshot, BackendVolume, Unsafe
from snapmanage.core.lists.filters import Listed, Page, on_page
from snapmanage.core.origins.protection import NO_ORIGINS, ORIGIN_KEYS, REFUSES, BackendOrigins, with_extra_info
from snapmanage.core.reference import Reference
from snapmanage.core.values.ids import ids_in
from snapmanage.core.values.text import printable, time_text

ALREADY_MANAGED = "already managed"
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
        entry = {
            "reference": self.reference.value,
            "size": self.size_gb,
            "safe_to_manage": self.safe_to_manage,
            "reason_not_safe": self.reason_not_safe,
            "extra_info": dict(self.extra_info) or None,
            "cinder_id": self.record_id,
        }
        if own_fields:
            created_at = time_text(self.created_at) if self.created_at else None
            entry |= zip(OWN_FIELDS, (self.identity, created_at), strict=True)
        return entry


@dataclass(frozen=True)
class ManageableSnapshot(Manageable):
    """An entry of a list of snapshots; `source_reference` names its volume, if that still exists."""

    source_reference: Reference | None = None

    def as_wire(self, own_fields: bool = False) -> dict[str, Any]:
        """Return the entry with its volume, which a list without details has too."""
        source = self.source_reference.value if self.source_reference else {}
        return super().as_wire(own_fields) | {"source_reference": source}


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


def entries(found: Iterable[Listed], owned: Owned, origins: BackendOrigins = NO_ORIGINS) -> list[Manageable]:
    """Return the entries of a backend's snapshots or volumes."""
    return [_entry(each, owned, origins) for each in found]


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
