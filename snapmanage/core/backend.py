"""What a driver tells about objects of its backend, and whether one may be managed.

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
    "Unsafe",
    "belongs",
    "refuse_foreign",
    "refuse_unsafe",
    "size_gb",
]

GIB = 1024**3


def size_gb(size_bytes: int) -> int:
    """GiB, rounded up, as the Block Storage API counts."""
    return -(-size_bytes // GIB)


class Unsafe(Enum):
    """Why a snapshot can't be managed as it is."""

    IN_USE = "in use"
    UNUSABLE = "unusable"


@dataclass(frozen=True)
class BackendVolume:
    """A volume on a backend; `name` is what the backend calls it."""

    name: str
    identity: str
    size_bytes: int


@dataclass(frozen=True)
class BackendSnapshot:
    """A snapshot on a backend.

    `parent` and `parent_identity` are None where its volume is gone; `created_at` is the backend's
    own time, UTC. `unsafe` with `unsafe_reason` (a clause for an operator) says that it can't be
    managed now. `extra` is shown to operators as it is.
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

    @property
    def size_gb(self) -> int:
        return size_gb(self.size_bytes)


@dataclass(frozen=True)
class BackendObject:
    """An object on a backend, of any kind: a snapshot, a volume, a file that is neither.

    `identity` is empty where the object exists but its identity can't be read.
    """

    name: str
    identity: str


@dataclass(frozen=True)
class Binding:
    """What a driver is asked to bring about: the object of `identity` changes between two names.

    It is recorded before the backend is touched, so that whoever takes over knows both names. The
    names are equal where nothing is to be renamed.
    """

    identity: str
    original_name: str
    managed_name: str


def refuse_unsafe(found: BackendSnapshot) -> None:
    """Raise `InUse` or `Unusable` where the snapshot can't be managed as it is."""
    if found.unsafe is Unsafe.IN_USE:
        raise errors.InUse(f"{found.name!r} is in use: {found.unsafe_reason}; close it, then manage it again")
    if found.unsafe is Unsafe.UNUSABLE:
        raise errors.Unusable(f"{found.name!r} can't be used: {found.unsafe_reason}")


def belongs(found: BackendSnapshot, volume_name: str | None, volume_identity: str | None) -> bool | None:
    """Whether a snapshot is of a volume; None where it can't be told, since its volume is gone.

    Identities decide where both are known, since they outlive a rename; names otherwise.
    """
    if found.parent is None:
        return None
    if volume_identity and found.parent_identity:
        return volume_identity == found.parent_identity
    return volume_name == found.parent


def refuse_foreign(found: BackendSnapshot, volume_name: str, volume_identity: str | None) -> None:
    """Raise `WrongVolume` where the snapshot is known to be another volume's.

    A snapshot whose volume is gone belongs to whom the request says.
    """
    if belongs(found, volume_name, volume_identity) is False:
        raise errors.WrongVolume(
            f"{found.name!r} is a snapshot of {found.parent!r}, not of {volume_name!r}; name the volume it belongs to"
        )
