"""What a vendor's driver lists, as values."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from snapmanage import errors
from snapmanage.core.backend import GIB, BackendSnapshot, Unsafe
from snapmanage.drivers.cinder.vendors import Vendor
from snapmanage.drivers.rbd.unreadable import is_listing_entry

NAME_KEYS = ("source-name", "name", "source-id", "volume-id")
IDENTITY_KEYS = ("source-guid", "source-id")

# By name; None for what isn't to be seen at all, and no table where the driver's backend tells none.
Identities = Mapping[str, str | None] | None

_IN_USE = ("in use", "in-use", "mapped", "mapping", "busy", "connected")


@dataclass(frozen=True)
class Seen:
    """An entry of a listing.

    `name` is unique on the backend; `listed_name` is what the driver calls it. `stable` says that the
    identity outlives a rename; otherwise it is but the name. `record_id` is set where the driver takes
    the object for that record's.
    """

    name: str
    listed_name: str
    identity: str
    stable: bool
    size_gb: int
    reference: Mapping[str, str]
    parent: str | None = None
    parent_identity: str | None = None
    record_id: str | None = None
    unsafe: Unsafe | None = None
    unsafe_reason: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def vendor_reference(self) -> dict[str, str]:
        """A reference that any driver takes: listings of some have keys that their own managing refuses."""
        return {"source-name": self.listed_name, "name": self.listed_name, **self.reference}

    def matches(self, key: str, value: str) -> bool:
        if key == "source-name":
            return value in (self.name, self.listed_name)
        return self.reference.get(key) == value

    def described(self, size_gb: int) -> BackendSnapshot:
        return BackendSnapshot(
            name=self.name,
            identity=self.identity,
            size_bytes=size_gb * GIB,
            parent=self.parent,
            parent_identity=self.parent_identity,
            unsafe=self.unsafe,
            unsafe_reason=self.unsafe_reason,
            extra=self.extra,
        )

    def refused(self, refusals: Mapping[str, str]) -> "Seen":
        """The entry with the reason against managing it that the vendor's driver doesn't tell."""
        if self.name not in refusals:
            return self
        return replace(self, unsafe=Unsafe.UNUSABLE, unsafe_reason=refusals[self.name])


def refuse_unseen(listed: Sequence[Seen], *names: str | None) -> None:
    """Raise `Unusable` where a name is an image's, or one of its snapshots', that `ceph` couldn't read."""
    for seen in listed:
        if is_listing_entry(seen.identity) and any(
            name == seen.name or (name or "").startswith(f"{seen.name}@") for name in names
        ):
            raise errors.Unusable(f"{seen.name!r} can't be used: {seen.unsafe_reason}")


def read_entry(vendor: Vendor, entry: Mapping[str, Any], identities: Identities) -> Seen:
    """An entry as a value; `BackendError` where it can't be read."""
    try:
        reference = {key: str(value) for key, value in entry["reference"].items()}
        source = entry.get("source_reference") or {}
        source = source if isinstance(source, Mapping) else {"name": source}
        listed, parent = _first(reference, NAME_KEYS), _first(source, NAME_KEYS)
        name = vendor.whole_name(parent, listed) if "source_reference" in entry else listed
        stable = _stable_identity(name, reference, identities)
        unsafe, reason = _danger(entry)
        extra = entry.get("extra_info")
        return Seen(
            name=name,
            listed_name=listed,
            identity=stable if identities is not None else stable or f"name {name}",
            stable=identities is not None or bool(_first(reference, IDENTITY_KEYS)),
            size_gb=math.ceil(float(entry["size"])),
            reference=reference,
            parent=parent or None,
            parent_identity=_stable_identity(parent, source, identities) or None,
            record_id=entry.get("cinder_id"),
            unsafe=unsafe,
            unsafe_reason=reason,
            extra={key: str(value) for key, value in extra.items()} if isinstance(extra, Mapping) else {},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as failure:
        raise errors.BackendError(
            f"the vendor's driver listed what can't be read ({failure!r}): {entry!r}"
        ) from failure


def _first(fields: Mapping[str, str], keys: Sequence[str]) -> str:
    return next((str(fields[key]) for key in keys if fields.get(key)), "")


def _stable_identity(name: str, reference: Mapping[str, str], identities: Identities) -> str:
    """Empty where there is none."""
    if identities is not None:
        return identities.get(name) or ""
    return _first(reference, IDENTITY_KEYS)


def _danger(entry: Mapping[str, Any]) -> tuple[Unsafe | None, str]:
    """What the listing says against managing it; that it is a record's already isn't said here."""
    if entry.get("safe_to_manage", True) or entry.get("cinder_id"):
        return None, ""
    reason = str(entry.get("reason_not_safe") or "the vendor's driver gives no reason")
    in_use = any(word in reason.lower() for word in _IN_USE)
    return (Unsafe.IN_USE if in_use else Unsafe.UNUSABLE), reason
