"""Entries of lists of manageable snapshots and volumes, as the Block Storage API has them, with their owners."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from snapmanage.core.backend import BackendSnapshot, BackendVolume, Unsafe
from snapmanage.core.lists.filters import Listed, Page, on_page
from snapmanage.core.origins.patterns import Origin
from snapmanage.core.origins.protection import NO_ORIGINS, ORIGIN_KEYS, REFUSES, BackendOrigins, with_extra_info
from snapmanage.core.reference import Reference, name_text
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


class Assessment(NamedTuple):
    """An object of a backend with the record that owns it, the reason why it can't be managed, and its origin.

    A list makes thousands of them: a tuple costs a fifth of a dataclass.
    """

    found: Listed
    record_id: str | None
    reason_not_safe: str | None
    origin: Origin | None


def assess(found: Iterable[Listed], owned: Owned, origins: BackendOrigins = NO_ORIGINS) -> list[Assessment]:
    """Find owner, origin and reason of each snapshot or volume of a backend."""
    return [_assess(each, owned, origins) for each in found]


def page_by_safety(
    candidates: Iterable[Listed], owned: Owned, page: Page, origins: BackendOrigins = NO_ORIGINS
) -> list[Assessment]:
    """Return the page of objects that are safe to manage, or of those that aren't; `owned` must hold every owner."""
    every = (_assess(found, owned, origins) for found in candidates)
    safe = page.filters.safe_to_manage
    return list(on_page((each for each in every if (each.reason_not_safe is None) is safe), page))


def entries(assessed: Iterable[Assessment]) -> list[Manageable]:
    """Return the entries of a list; `page_text` makes the same entries as JSON."""
    return [_entry(each) for each in assessed]


def for_readers(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of `as_wire` for callers who aren't administrators.

    The entry lacks the ids of records, which may belong to other projects, and the details of the backend. Its origin
    is none of them.
    """
    extra = extra_for_readers(entry.get("extra_info") or {})
    reason = reason_for_readers(entry["reason_not_safe"])
    return {**entry, "reason_not_safe": reason, "extra_info": extra or None, "cinder_id": None}


def reason_for_readers(reason: str | None) -> str | None:
    if reason is None or reason.startswith(f"{REFUSES}: "):
        return reason
    kind = reason.partition(":")[0]
    return kind if kind in {each.value for each in Unsafe} else ALREADY_MANAGED


def extra_for_readers(extra: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in extra.items() if key in ORIGIN_KEYS}


def extra_info(assessed: Assessment) -> Mapping[str, str]:
    """Return the properties that the driver reports, for a snapshot with its origin."""
    extra = assessed.found.extra
    return extra if isinstance(assessed.found, BackendVolume) else with_extra_info(extra, assessed.origin)


def _assess(found: Listed, owned: Owned, origins: BackendOrigins) -> Assessment:
    record_id = owned.owner(found)
    namesake = owned.references.get(name_text(found.name)) if owned.references else None
    reason = _reason_not_safe(found, record_id, namesake)
    # The name of a managed snapshot is that of its record.
    if record_id is not None or isinstance(found, BackendVolume):
        return Assessment(found, record_id, reason, None)
    origin = origins.of(found)
    return Assessment(found, record_id, reason or origins.reason_not_safe(found, origin), origin)


def _entry(assessed: Assessment) -> Manageable:
    found, record_id, reason, _ = assessed
    reference, extra = Reference.named(found.name), extra_info(assessed)
    facts: dict[str, Any] = {"identity": found.identity or None, "created_at": found.created_at}
    if isinstance(found, BackendVolume):
        return Manageable(reference, found.size_gb, reason, record_id, extra, **facts)
    source = Reference.named(found.parent) if found.parent else None
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
