"""The records of snapmanage: registered volumes and managed snapshots.

Both have the same lifecycle (`snapmanage.core.lifecycle`): requested, accepted, claimed by one worker
at a time, settled. Sizes are in GiB, times are aware and in UTC.
"""

import hashlib
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar

from snapmanage.core.backend import Binding
from snapmanage.core.reference import Reference
from snapmanage.core.values.location import Location


class Status(Enum):
    """The status that a client sees; `DELETED` marks the tombstone of an unmanaged snapshot, which no client sees."""

    CREATING = "creating"
    AVAILABLE = "available"
    ERROR = "error"
    UNMANAGING = "unmanaging"
    DELETED = "deleted"

    @property
    def in_progress(self) -> bool:
        return self in (Status.CREATING, Status.UNMANAGING)


class Operation(Enum):
    """The operation that was last requested for a record."""

    MANAGE = "manage"
    UNMANAGE = "unmanage"


@dataclass(frozen=True)
class Requester:
    """The project and the user of a request, and its ids; no secret is ever kept."""

    project_id: str
    user_id: str | None = None
    request_id: str | None = None
    global_request_id: str | None = None


Fence = tuple[Status, int, str | None]


@dataclass(frozen=True, kw_only=True)
class Record:
    """The common part of volumes and snapshots.

    `generation` counts the announced steps: 0 before the first start. `claim_number` counts the claims of workers.
    `due_at` is the time from which a worker may claim the record: when it was accepted, the end of the lease while it
    is claimed, the end of the back-off after a failure. It is None if the record is settled, or not accepted yet.
    `reference_key` and `identity_key` are unique; they are None if the record doesn't own its object.
    `step_at` is the time of the last step of an operation: unlike `updated_at`, it is no time of an edit. It is None
    before the first step, and in a row of an earlier release. `batch_position` and `batch_size` tell how far the driver
    is in a batch that takes longer than a renewal of the lease; they are None at any other time.
    """

    id: str
    requester: Requester
    location: Location
    reference: Reference
    name: str | None = None
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    size_gb: int | None = None

    status: Status = Status.CREATING
    operation: Operation = Operation.MANAGE
    generation: int = 0
    claim_number: int = 0
    attempt: int = 0
    started_at: datetime | None = None
    due_at: datetime | None = None
    claimed_by: str | None = None
    reason: str | None = None
    reason_code: str | None = None
    batch_position: int | None = None
    batch_size: int | None = None

    backend_id: str | None = None
    backend_name: str | None = None
    original_name: str | None = None
    backend_created_at: datetime | None = None
    reference_key: str | None = None
    identity_key: str | None = None

    created_at: datetime
    updated_at: datetime | None = None
    step_at: datetime | None = None
    deleted_at: datetime | None = None

    @property
    def fence(self) -> Fence:
        """Return the part that each move of the record changes; a worker's write requires that it is unchanged."""
        return self.status, self.claim_number, self.claimed_by


@dataclass(frozen=True, kw_only=True)
class Volume(Record):
    """A backend volume with snapshots; it is never renamed."""


@dataclass(frozen=True, kw_only=True)
class Snapshot(Record):
    """A snapshot that is managed, or is to be managed.

    `storage` is the id of the storage of its object (`Driver.storage_id`), None if the id is unknown. On one storage
    an object has one owner, even if several servers reach it. `upstream` names the dialect of the upstream API
    that has requested the snapshot and waits for the outcome, since it has a record of its own; None for all others.
    """

    volume_id: str
    storage: str | None = None
    upstream: str | None = None

    @property
    def binding(self) -> Binding | None:
        """Return the backend object and its two names; None until the reference is resolved."""
        if self.backend_id is None or self.original_name is None or self.backend_name is None:
            return None
        return Binding(self.backend_id, self.original_name, self.backend_name)


R = TypeVar("R", bound=Record)


_FIELDS: Mapping[type[Record], Set[str]] = {
    kind: frozenset(each.name for each in fields(kind)) for kind in (Volume, Snapshot)
}


def with_fields(kind: type[R], values: dict[str, Any]) -> R:
    """Return a record that has these values of all its fields, and keeps the dictionary.

    Its constructor takes five times as long, since a frozen dataclass sets its fields one by one.
    """
    if len(values) != len(_FIELDS[kind]):
        wrong = ", ".join(sorted(values.keys() ^ _FIELDS[kind]))
        raise TypeError(f"{kind.__name__} has no such fields, or these are missing: {wrong}")
    record = object.__new__(kind)
    object.__setattr__(record, "__dict__", values)
    return record


def changed(record: R, **fields: Any) -> R:
    """Return the record with other values in some of its fields.

    `dataclasses.replace` takes ten times as long, since it reads and sets the fields one by one.
    """
    return with_fields(type(record), {**vars(record), **fields})


def owner_key(where: str, what: str) -> str:
    """Return the unique key of a reference or an identity on a server or on a storage: 64 hexadecimal digits.

    A digest, so that its length and the database's collation don't matter.
    """
    return hashlib.sha256(f"{where}\n{what}".encode()).hexdigest()


def reference_key(server: str, reference: Reference, volume_id: str | None) -> str:
    """Return the key of a reference; a snapshot's reference may name an object only together with its volume."""
    return owner_key(server, on_volume(volume_id, reference.text) if volume_id else reference.text)


def on_volume(volume_id: str, reference_text: str) -> str:
    """Return the text of a snapshot's reference with its volume, of which `reference_key` makes the key."""
    return f"{volume_id}\n{reference_text}"


def identity_key(record: Record) -> str | None:
    """Return the key of the object that a record was resolved to; None if it was not resolved.

    Each server may register a volume; a snapshot has one owner on its storage.
    """
    storage = record.storage if isinstance(record, Snapshot) else None
    return None if record.backend_id is None else owner_key(storage or record.location.server, record.backend_id)
