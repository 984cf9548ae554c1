"""The objects of a backend as its driver reports them, and the rules by which a snapshot may be managed.

Sizes are bytes. `identity` is the backend's own stable id (an LV's UUID, an inode and its birth):
it outlives a rename and is never given to another object.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from snapmanage import errors

__all__ = [
    "GIB",
    "BackendObject",
    "BackendSnapshot",
    "BackendVolume",
    "Binding",
    "Notes",
    "Unsafe",
    "belongs",
    "refuse_foreign",
    "refuse_unsafe",
    "size_gb",
]

GIB = 1024**3


def size_gb(size_bytes: int) -> int:
    """Return the size in GiB, rounded up as the Block Storage API does."""
    return -(-size_bytes // GIB)


class Unsafe(Enum):
    """The reason why a snapshot can't be managed, or a volume can't be registered, as it is."""

    IN_USE = "in use"
    UNUSABLE = "unusable"


@dataclass(frozen=True)
class BackendVolume:
    """A volume on a backend; `name` is its name there.

    `created_at` is the backend's own time, in UTC. A volume with `unsafe` can't be registered now; `unsafe_reason` is a
    clause for an operator. Operators see `extra` unchanged.
    """

    name: str
    identity: str
    size_bytes: int
    created_at: datetime | None = None
    unsafe: Unsafe | None = None
    unsafe_reason: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def size_gb(self) -> int:
        return size_gb(self.size_bytes)


@dataclass(frozen=True)
class Notes:
    """The time and the text that the tool which made a snapshot has written down; the text is not checked."""

    created_at: datetime | None = None
    description: str = ""


@dataclass(frozen=True)
class BackendSnapshot:
    """A snapshot on a backend.

    `parent` and `parent_identity` are None if its volume is gone. `created_at` is the backend's own time, in UTC.
    A snapshot with `unsafe` can't be managed now; `unsafe_reason` is a clause for an operator.
    Operators see `extra` unchanged. `notes` count only if the origin of the snapshot is known.
    """

    name: str
    identity: str
    size_bytes: int
    parent: str | None
    parent_identity: str | None = None
    created_at: datetime | None = None
    unsafe: Unsafe | None = None
    unsafe_reason: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    notes: Notes | None = None

    @property
    def size_gb(self) -> int:
        return size_gb(self.size_bytes)


@dataclass(frozen=True)
class BackendObject:
    """An object on a backend, of any kind: a snapshot, a volume, a file that is neither.

    `identity` is empty if the object exists but its identity can't be read.
    """

    name: str
    identity: str


@dataclass(frozen=True)
class Binding:
    """The backend object of a record, and its two names.

    The binding is recorded before the backend is touched, so that the next worker knows both names after a crash.
    The names are equal if the driver doesn't rename.
    """

    identity: str
    original_name: str
    managed_name: str


def refuse_unsafe(found: BackendSnapshot | BackendVolume) -> None:
    """Raise `InUse` or `Unusable` if the snapshot can't be managed, or the volume can't be registered, as it is."""
    if found.unsafe is Unsafe.IN_USE:
        raise errors.InUse(f"{found.name!r} is in use: {found.unsafe_reason}; close it, then manage it again")
    if found.unsafe is Unsafe.UNUSABLE:
        raise errors.Unusable(f"{found.name!r} can't be used: {found.unsafe_reason}")


def belongs(found: BackendSnapshot, volume_name: str | None, volume_identity: str | None) -> bool | None:
    """Return whether a snapshot belongs to a volume; None if the snapshot's volume is gone.

    If both identities are known, they decide, since they outlive a rename; otherwise the names do.
    """
    if found.parent is None:
        return None
    if volume_identity and found.parent_identity:
        return volume_identity == found.parent_identity
    return volume_name == found.parent


def refuse_foreign(found: BackendSnapshot, volume_name: str, volume_identity: str | None) -> None:
    """Raise `WrongVolume` if the snapshot is known to belong to another volume.

    A snapshot whose volume is gone belongs to the volume that the request names.
    """
    if belongs(found, volume_name, volume_identity) is False:
        raise errors.WrongVolume(
            f"{found.name!r} is a snapshot of {found.parent!r}, not of {volume_name!r}; name the volume it belongs to"
        )
