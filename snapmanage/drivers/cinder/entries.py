"""Entries of a vendor driver's listing, as values."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from snapmanage import errors
from snapmanage.core.backend import GIB, BackendSnapshot, BackendVolume, Unsafe
from snapmanage.drivers.cinder.vendors import Vendor
from snapmanage.drivers.rbd.unreadable import is_listing_entry

NAME_KEYS = ("source-name", "name", "source-id", "volume-id")
IDENTITY_KEYS = ("source-guid", "source-id")

# Identities by the name of the object. An object whose identity is None is left out of listings. None in place of the
# whole table means that the driver can't read identities.
Identities = Mapping[str, str | None] | None

_IN_USE = ("in use", "in-use", "mapped", "mapping", "busy", "connected")


@dataclass(frozen=True)
class ListingEntry:
    """A snapshot or a volume in a listing.

    `name` is unique on the backend; `listed_name` is the driver's own name. `stable` is true for an identity that
    survives a rename; otherwise the identity is made of the name. `record_id` is set where the driver attributes the
    object to that record.
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
        """Return a reference with every usual key: some drivers refuse the keys of their own listings."""
        return {"source-name": self.listed_name, "name": self.listed_name, **self.reference}

    def matches(self, key: str, value: str) -> bool:
        """Return whether a reference with that key and value names the entry."""
        if key == "source-name":
            return value in (self.name, self.listed_name)
        return self.reference.get(key) == value

    def as_snapshot(self, size_gb: int) -> BackendSnapshot:
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

    def as_volume(self) -> BackendVolume:
        return BackendVolume(
            name=self.name,
            identity=self.identity,
            size_bytes=self.size_gb * GIB,
            unsafe=self.unsafe,
            unsafe_reason=self.unsafe_reason,
            extra=self.extra,
        )

    def with_advice(self) -> "ListingEntry":
        """Return the entry as safe, with the driver's reason against managing it as extra information.

        Cinder renames a volume that it manages. snapmanage only registers it, so it may be attached, for example.
        """
        if self.unsafe is None:
            return self
        return replace(
            self, unsafe=None, unsafe_reason="", extra={**self.extra, "vendor_reason_not_safe": self.unsafe_reason}
        )

    def with_refusal(self, refusals: Mapping[str, str]) -> "ListingEntry":
        """Return the entry as unsafe where `refusals` has a reason for its name."""
        if self.name not in refusals:
            return self
        return replace(self, unsafe=Unsafe.UNUSABLE, unsafe_reason=refusals[self.name])


def refuse_unreadable(listed: Sequence[ListingEntry], *names: str | None) -> None:
    """Raise `Unusable` where a name belongs to an image that `ceph` couldn't read, or to a snapshot of one."""
    for entry in listed:
        if is_listing_entry(entry.identity) and any(
            name == entry.name or (name or "").startswith(f"{entry.name}@") for name in names
        ):
            raise errors.Unusable(f"{entry.name!r} can't be used: {entry.unsafe_reason}")


def parse_entry(vendor: Vendor, entry: Mapping[str, Any], identities: Identities) -> ListingEntry:
    """Return a listed dictionary as a value; raise `BackendError` where its form is wrong."""
    try:
        reference = {key: str(value) for key, value in entry["reference"].items()}
        source = entry.get("source_reference") or {}
        source = source if isinstance(source, Mapping) else {"name": source}
        listed_name, parent = _first(reference, NAME_KEYS), _first(source, NAME_KEYS)
        name = vendor.whole_name(parent, listed_name) if "source_reference" in entry else listed_name
        identity = _stable_identity(name, reference, identities)
        unsafe, reason = _safety(entry)
        extra = entry.get("extra_info")
        return ListingEntry(
            name=name,
            listed_name=listed_name,
            identity=identity if identities is not None else identity or f"name {name}",
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
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as failure:
        raise errors.BackendError(
            f"the vendor driver lists an entry that can't be read ({failure!r}): {entry!r}; report it to the vendor"
        ) from failure


def _first(fields: Mapping[str, str], keys: Sequence[str]) -> str:
    """Return the value of the first key that has one; empty without any."""
    return next((str(fields[key]) for key in keys if fields.get(key)), "")


def _stable_identity(name: str, reference: Mapping[str, str], identities: Identities) -> str:
    """Return the identity that survives renames; empty where there is none."""
    if identities is not None:
        return identities.get(name) or ""
    return _first(reference, IDENTITY_KEYS)


def _safety(entry: Mapping[str, Any]) -> tuple[Unsafe | None, str]:
    """Return the listing's reason against managing; a snapshot that belongs to a record is safe here."""
    if entry.get("safe_to_manage", True) or entry.get("cinder_id"):
        return None, ""
    reason = str(entry.get("reason_not_safe") or "the vendor driver gives no reason")
    in_use = any(word in reason.lower() for word in _IN_USE)
    return (Unsafe.IN_USE if in_use else Unsafe.UNUSABLE), reason
