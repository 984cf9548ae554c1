"""The rules of purging: which rows are old, and which records nothing can refer to any more.

A tombstone keeps a late repeat of its cast from managing the snapshot again, and so does the record of a snapshot that
could not be managed. They are deleted when no copy of the cast is expected any more; a server recognizes a copy that
arrives even later by the id of the purged record. See `docs/how-to/purge.md`.
"""

from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from snapmanage.core.records import Operation, Record, Snapshot, Status
from snapmanage.core.services import Service
from snapmanage.core.usermessages import MESSAGE_LIFETIME

# A user message is shown for this time, and no queue of a server that is up holds a cast for as long.
MINIMUM_AGE = max(MESSAGE_LIFETIME, timedelta(days=30))


class Kind(Enum):
    """The kinds of rows that can be purged; the value is the noun of the output."""

    QUARANTINE = "quarantined messages"
    TOMBSTONES = "tombstones"
    FAILED = "failed records"
    MESSAGES = "user messages"
    KEYS = "idempotency keys"
    SUSPECTS = "counts of redelivered messages"
    SERVICES = "servers"

    @property
    def is_of_records(self) -> bool:
        return self in (Kind.TOMBSTONES, Kind.FAILED)


class Obstacle(Enum):
    """The reason why an old row is kept; the value says it of several rows, with the remedy."""

    UNSENT = "messages about them are in the outbox; check that the broker and the relays are up"
    UNREPORTED = "the upstream API has not taken their outcomes; see `snapmanage-manage upstream list`"
    SERVER_DOWN = "their server is down, and its queue may hold late casts; start it, or name it in --gone"
    QUARANTINED = "quarantined messages name them; retry or drop these messages first"
    RESOLVED = "their objects may have the managed name; unmanage them first"
    HAS_SNAPSHOTS = "they have snapshots, or tombstones of snapshots"
    HAS_RECORDS = "they have volumes or snapshots"
    DISABLED = "they are disabled; enable them first"


@dataclass(frozen=True)
class Mentions:
    """The ids of records that other rows mention, and the servers whose queues hold no late casts."""

    quarantined: Set[str]
    servers: Set[str]
    unsent: Set[str] = frozenset()
    unreported: Set[str] = frozenset()
    parents: Set[str] = frozenset()


def is_purgeable(record: Record, kind: Kind, before: datetime) -> bool:
    """Return whether a record is of the kind, and has been since a time before `before`."""
    if kind is Kind.TOMBSTONES:
        return record.deleted_at is not None and record.deleted_at < before
    failed_at = record.step_at or record.updated_at
    failed = record.status is Status.ERROR and record.operation is Operation.MANAGE
    return failed and failed_at is not None and failed_at < before


def obstacle(record: Record, mentions: Mentions) -> Obstacle | None:
    """Return the reason to keep an old tombstone or failed record; None if nothing can refer to it any more."""
    if record.id in mentions.unsent:
        return Obstacle.UNSENT
    if record.id in mentions.unreported:
        return Obstacle.UNREPORTED
    if record.location.server not in mentions.servers:
        return Obstacle.SERVER_DOWN
    if record.id in mentions.quarantined:
        return Obstacle.QUARANTINED
    if isinstance(record, Snapshot) and _may_be_renamed(record):
        return Obstacle.RESOLVED
    return Obstacle.HAS_SNAPSHOTS if record.id in mentions.parents else None


def _may_be_renamed(snapshot: Snapshot) -> bool:
    """Return whether the object of a failed snapshot may have its managed name, so that its record is needed."""
    binding = snapshot.binding
    return snapshot.status is Status.ERROR and binding is not None and binding.managed_name != binding.original_name


def obstacle_of_server(service: Service, with_records: Set[str]) -> Obstacle | None:
    """Return the reason to keep a server without heartbeats; the row of a server with records names their storage."""
    if service.disabled_reason is not None:
        return Obstacle.DISABLED
    return Obstacle.HAS_RECORDS if service.server in with_records else None
