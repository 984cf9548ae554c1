"""One entry of a service's list of manageable snapshots."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from snapmanage.client.selection.origins import recognise
from snapmanage.core.lists.manageable import ALREADY_MANAGED
from snapmanage.core.origins.protection import CREATED_AT, DESCRIPTION, with_extra_info
from snapmanage.core.values.ids import ids_in, own_name

# The keys under which a service may show facts about an object, the best one first. Drivers have keys of their own.
_IDENTITY = ("snapmanage:identity", "identity", "source-id")
_CREATED = ("snapmanage:created_at", "created_at", CREATED_AT)


@dataclass(frozen=True)
class Found:
    """A snapshot of the backend `host`; `record_id` is set if it is managed already.

    `parent` is the volume's name on the backend, or None if the volume is gone. `created_at` is the time of the object
    on the backend, and `origin_created_at` the time in the name or the notes of the program that made the snapshot.
    `origin_why` says what a new name changes for that program, and `description` is its text about the snapshot.
    """

    host: str
    reference: Mapping[str, Any]
    size_gb: int
    reason_not_safe: str | None = None
    parent: str | None = None
    record_id: str | None = None
    identity: str | None = None
    created_at: datetime | None = None
    origin_created_at: datetime | None = None
    origin: str | None = None
    origin_class: str | None = None
    rename: str = "safe"
    origin_why: str = ""
    description: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the name on the backend, or the whole reference as JSON if it has no name."""
        return name_of(self.reference)

    @property
    def own_name(self) -> str:
        """Return the name without the volume's or the folder's name."""
        return own_name(self.name)

    @property
    def made_at(self) -> datetime | None:
        """Return when the snapshot was made. A copied object is younger, and only its program's time shows that."""
        return self.origin_created_at or self.created_at

    @property
    def is_safe(self) -> bool:
        return self.reason_not_safe is None

    @property
    def is_managed(self) -> bool:
        return self.record_id is not None or self.reason_not_safe == ALREADY_MANAGED

    @classmethod
    def of(cls, host: str, entry: Mapping[str, Any]) -> "Found":
        """Read an entry of the detailed list; fields that the service lacks are absent."""
        extra = _with_origin(entry, {str(key): str(value) for key, value in (entry.get("extra_info") or {}).items()})
        facts = extra | {key: value for key, value in entry.items() if value is not None}
        return cls(
            host=host,
            reference=entry["reference"],
            size_gb=int(entry.get("size") or 0),
            reason_not_safe=None if entry.get("safe_to_manage") else entry.get("reason_not_safe") or "not safe",
            parent=_parent(entry),
            record_id=entry.get("cinder_id"),
            identity=_first(facts, _IDENTITY),
            created_at=time_of(_first(facts, _CREATED)),
            origin_created_at=time_of(extra.get(CREATED_AT)),
            origin=extra.get("origin"),
            origin_class=extra.get("origin-class"),
            rename=extra.get("origin-rename", "safe"),
            origin_why=extra.get("origin-why", ""),
            description=extra.get(DESCRIPTION),
            extra=extra,
        )

    def with_volume_names(self, names: Mapping[str, str]) -> "Found":
        """Return the entry with the earlier name of its volume if the volume's name is now that of a record in `names`.

        Cinder renames a volume that it registers, so the snapshots that follow it show another volume.
        """
        earlier = [names[each] for each in ids_in(self.parent or "") if each in names]
        return replace(self, parent=earlier[0]) if earlier else self

    def order(self) -> tuple[str, str, str]:
        """Return the key of the order of scans and plans: the snapshots of a volume follow one another."""
        return self.host, self.parent or "", self.name

    def place(self) -> tuple[str, str]:
        """Return the key of an order that does not depend on the volume, which may change."""
        return self.host, self.name


def name_of(reference: Mapping[str, Any]) -> str:
    """Return the name in a reference, or the reference as JSON if it has another form."""
    if len(reference) == 1 and isinstance(value := next(iter(reference.values())), str):
        return value
    return json.dumps(reference, sort_keys=True)


def _parent(entry: Mapping[str, Any]) -> str | None:
    return name_of(entry["source_reference"]) if entry.get("source_reference") else None


def _with_origin(entry: Mapping[str, Any], extra: dict[str, str]) -> dict[str, str]:
    """Return the additional information, with the origin if the service recognises none and does not manage the entry.

    A service that shows its own fields has looked for an origin.
    """
    is_managed = entry.get("cinder_id") or entry.get("reason_not_safe") == ALREADY_MANAGED
    if "origin" in extra or is_managed or _IDENTITY[0] in entry:
        return extra
    return with_extra_info(extra, recognise(name_of(entry["reference"]), _parent(entry), extra))


def _first(facts: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    return next((str(facts[key]) for key in keys if facts.get(key)), None)


def time_of(text: str | None) -> datetime | None:
    """Return a time in UTC, or None if the text is none."""
    try:
        read = datetime.fromisoformat(re.sub(r" UTC$", "+00:00", text or ""))
    except ValueError:
        return None
    return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
