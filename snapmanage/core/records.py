"""The records that snapmanage keeps: volumes it knows and snapshots it manages.

Both live the same life (`snapmanage.core.lifecycle`): asked for, accepted, claimed by one worker
at a time, settled. Sizes are GiB, times are aware UTC.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar

from snapmanage.core.backend import Binding
from snapmanage.core.location import Location
from snapmanage.core.reference import Reference


class Status(Enum):
    """What a client sees; `DELETED` marks the tombstone of what was given back, which no client sees."""

    CREATING = "creating"
    AVAILABLE = "available"
    ERROR = "error"
    UNMANAGING = "unmanaging"
    DELETED = "deleted"

    @property
    def in_progress(self) -> bool:
        return self in (Status.CREATING, Status.UNMANAGING)


class Operation(Enum):
    """What was last asked for a record."""

    MANAGE = "manage"
    UNMANAGE = "unmanage"

    @property
    def status(self) -> Status:
        """The status of a record while the operation is under way."""
        return Status.CREATING if self is Operation.MANAGE else Status.UNMANAGING


@dataclass(frozen=True)
class Requester:
    """On whose behalf, and under which request ids; no secret is ever kept."""

    project_id: str
    user_id: str | None = None
    request_id: str | None = None
    global_request_id: str | None = None


Fence = tuple[Status, int, str | None]


@dataclass(frozen=True, kw_only=True)
class Record:
    """What volumes and snapshots have in common.

    `generation` counts the announced steps: 0 until the first start. `claim_number` counts the claims
    of workers. `due_at` is when a worker may claim: from accepting on, the end of the lease while
    claimed, the end of the back-off after a failure; None when settled, or not accepted yet.
    `reference_key` and `identity_key` are unique over what is owned, None for what isn't.
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

    backend_id: str | None = None
    backend_name: str | None = None
    original_name: str | None = None
    backend_created_at: datetime | None = None
    reference_key: str | None = None
    identity_key: str | None = None

    created_at: datetime
    updated_at: datetime | None = None
    deleted_at: datetime | None = None

    @property
    def server(self) -> str:
        return self.location.server

    @property
    def fence(self) -> Fence:
        """Return the part of the record that every move changes: a write requires that it is unchanged."""
        return self.status, self.claim_number, self.claimed_by


@dataclass(frozen=True, kw_only=True)
class Volume(Record):
    """A backend volume that snapshots may belong to; never renamed."""


@dataclass(frozen=True, kw_only=True)
class Snapshot(Record):
    """A snapshot under management, or on its way.

    `storage` is which storage its object is on (`Driver.storage_id`), None where that isn't known: its object is
    owned there, whichever server reaches it.
    """

    volume_id: str
    storage: str | None = None

    @property
    def binding(self) -> Binding | None:
        """The backend object and its two names, once the reference was resolved."""
        if self.backend_id is None or self.original_name is None or self.backend_name is None:
            return None
        return Binding(self.backend_id, self.original_name, self.backend_name)


R = TypeVar("R", bound=Record)


def changed(record: R, **fields: Any) -> R:
    """The record with other values in some of its fields.

    As `dataclasses.replace`, which takes ten times as long: it gets and sets every field, one by one.
    """
    copy = object.__new__(type(record))
    vars(copy).update(vars(record), **fields)
    if len(vars(copy)) != len(vars(record)):
        raise TypeError(f"{type(record).__name__} has not all of the fields {', '.join(fields)}")
    return copy


def owner_key(where: str, what: str) -> str:
    """Return the unique key of a reference or an identity on a server or on a storage: 64 hexadecimal digits.

    A digest, so that its length and the database's collation don't matter.
    """
    return hashlib.sha256(f"{where}\n{what}".encode()).hexdigest()


def reference_key(server: str, reference: Reference, volume_id: str | None) -> str:
    """The key of what a reference names: a snapshot's may mean something only together with its volume."""
    return owner_key(server, f"{volume_id}\n{reference.text}" if volume_id else reference.text)


def identity_key(record: Record) -> str | None:
    """The key of the object that a record was resolved to; None where it was not.

    A volume is registered by each server that serves it; a snapshot has one owner on its storage.
    """
    storage = record.storage if isinstance(record, Snapshot) else None
    return None if record.backend_id is None else owner_key(storage or record.server, record.backend_id)
