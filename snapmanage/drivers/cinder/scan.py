"""What a vendor's driver lists, as values; and one scan for all who wait for one.

Listings of Cinder's drivers aren't made at one moment: several look at each object by a command of its
own, and fail when it is renamed meanwhile. So scans and renames of this process take turns, and who
waits for a scan takes what another has asked for in the meantime.
"""

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from snapmanage import errors
from snapmanage.core.backend import GIB, BackendSnapshot, Unsafe
from snapmanage.drivers.cinder.process import CinderProcess
from snapmanage.drivers.cinder.vendors import Vendor
from snapmanage.drivers.rbd.unreadable import is_image

NAME_KEYS = ("source-name", "name", "source-id", "volume-id")
IDENTITY_KEYS = ("source-guid", "source-id")
SCANS = 3

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


class Scans:
    """Scans of one backend, which take turns with what changes it."""

    def __init__(self, process: CinderProcess, vendor: Vendor) -> None:
        self._process = process
        self._vendor = vendor
        self._turn = threading.Lock()
        self._asking = threading.Lock()
        self._begun = 0
        self._records: dict[str, str] = {}
        self._last: tuple[int, list[Seen]] = (0, [])

    @contextmanager
    def held_off(self) -> Iterator[None]:
        """Let no scan run meanwhile."""
        with self._turn:
            yield

    def snapshots(self, records: Mapping[str, str]) -> list[Seen]:
        """What there is at a moment after the call; `records` are names by record, for the driver to mark as theirs."""
        with self._asking:
            asked = self._begun
            self._records |= records
        with self._turn:
            number, seen = self._last
            if number > asked:
                return seen
            with self._asking:
                self._begun += 1
                wanted, self._records = {**self._records, **records}, {}
            seen = self._complete(lambda: self._process.call("snapshots", records=wanted))
            self._last = (self._begun, seen)
            return seen

    @property
    def waiting(self) -> Mapping[str, str]:
        """The records that the next scan will be asked for."""
        return self._records

    def volumes(self) -> list[Seen]:
        with self._turn:
            return self._complete(lambda: self._process.call("volumes"))

    def described(self, seen: Sequence[Seen]) -> list[BackendSnapshot]:
        """Snapshots as drivers tell them; the volume is asked for its size where the snapshot's own is wrong."""
        sizes: dict[str, int] = {}
        if self._vendor.size_of_volume:
            volumes = {each.parent for each in seen if each.parent}
            sizes = {volume: self._process.call("size_gb", volume=volume) for volume in volumes}
        return [_snapshot(each, sizes.get(each.parent or "", each.size_gb)) for each in seen]

    def _complete(self, scan: Callable[[], Any]) -> list[Seen]:
        """Scan until all that was listed is still there for its identity to be told: others may rename meanwhile."""
        for _ in range(SCANS):
            answer = scan()
            identities = answer["identities"]
            refusals = answer.get("refusals", {})
            seen = [_refused(_read(self._vendor, entry, identities), refusals) for entry in answer["entries"]]
            if identities is None or all(each.name in identities for each in seen):
                return [each for each in seen if each.identity]
        raise errors.BackendBusy("the backend changed each time while it was being listed")


def refuse_unseen(listed: Sequence[Seen], *names: str | None) -> None:
    """Raise `Unusable` where a name is an image's, or one of its snapshots', that `ceph` couldn't read."""
    for seen in listed:
        if is_image(seen.identity) and any(
            name == seen.name or (name or "").startswith(f"{seen.name}@") for name in names
        ):
            raise errors.Unusable(f"{seen.name!r} can't be used: {seen.unsafe_reason}")


def _read(vendor: Vendor, entry: Mapping[str, Any], identities: Identities) -> Seen:
    """An entry as a value; `BackendError` where it can't be read."""
    try:
        reference = {key: str(value) for key, value in entry["reference"].items()}
        source = entry.get("source_reference") or {}
        source = source if isinstance(source, Mapping) else {"name": source}
        listed, parent = _first(reference, NAME_KEYS), _first(source, NAME_KEYS)
        name = vendor.whole_name(parent, listed) if "source_reference" in entry else listed
        unsafe, reason = _danger(entry)
        return Seen(
            name=name,
            listed_name=listed,
            identity=_identity(name, reference, identities),
            stable=identities is not None or bool(_first(reference, IDENTITY_KEYS)),
            size_gb=math.ceil(float(entry["size"])),
            reference=reference,
            parent=parent or None,
            parent_identity=_stable_identity(parent, source, identities) or None,
            record_id=entry.get("cinder_id"),
            unsafe=unsafe,
            unsafe_reason=reason,
            extra=_extra(entry.get("extra_info")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as failure:
        raise errors.BackendError(
            f"the vendor's driver listed what can't be read ({failure!r}): {entry!r}"
        ) from failure


def _snapshot(seen: Seen, size_gb: int) -> BackendSnapshot:
    return BackendSnapshot(
        name=seen.name,
        identity=seen.identity,
        size_bytes=size_gb * GIB,
        parent=seen.parent,
        parent_identity=seen.parent_identity,
        unsafe=seen.unsafe,
        unsafe_reason=seen.unsafe_reason,
        extra=seen.extra,
    )


def _refused(seen: Seen, refusals: Mapping[str, str]) -> Seen:
    """The entry with the reason against managing it that the vendor's driver doesn't tell."""
    if seen.name not in refusals:
        return seen
    return replace(seen, unsafe=Unsafe.UNUSABLE, unsafe_reason=refusals[seen.name])


def _first(fields: Mapping[str, str], keys: Sequence[str]) -> str:
    return next((str(fields[key]) for key in keys if fields.get(key)), "")


def _identity(name: str, reference: Mapping[str, str], identities: Identities) -> str:
    """Empty for what isn't to be seen."""
    stable = _stable_identity(name, reference, identities)
    return stable if identities is not None else stable or f"name {name}"


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


def _extra(told: Any) -> dict[str, str]:
    return {key: str(value) for key, value in told.items()} if isinstance(told, Mapping) else {}
