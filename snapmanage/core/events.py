"""The events of a snapshot's operations."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from snapmanage import errors
from snapmanage.core.records import Operation, Requester, Snapshot, Status
from snapmanage.core.values import ids
from snapmanage.core.values.text import as_storable, readable

__all__ = ["PAYLOAD_FIELDS", "Event", "Step"]

# The beginnings of the types of these events.
OWN_EVENT_TYPES = ("snapshot.manage.", "snapshot.unmanage.")
UNKNOWN_REQUESTER = Requester(project_id="")
UNMANAGE_METHODS = ("unmanage_snapshot", "delete_snapshot")
# `event.schema.json` beside this file describes each field.
PAYLOAD_FIELDS = (
    "event_id",
    "generation",
    "occurred_at",
    "snapshot_id",
    "volume_id",
    "project_id",
    "tenant_id",
    "user_id",
    "request_id",
    "global_request_id",
    "host",
    "reference",
    "backend_name",
    "name",
    "display_name",
    "metadata",
    "size_gb",
    "volume_size",
    "status",
    "attempt",
    "reason",
    "created_at",
    "backend_created_at",
    "deleted",
)


class Step(Enum):
    """The announced steps of an operation; the value ends the event's type."""

    START = "start"
    END = "end"
    ERROR = "error"


@dataclass(frozen=True)
class Event:
    """An event, such as `snapshot.manage.start`, with the payload that listeners receive."""

    event_type: str
    priority: str
    payload: dict[str, Any]


def announce(snapshot: Snapshot, step: Step, now: datetime) -> Event:
    """Return the event of a step; `snapshot` is the record after the step."""
    requester, born = snapshot.requester, snapshot.backend_created_at
    reason = {"code": snapshot.reason_code, "text": snapshot.reason}
    unmanaging = snapshot.operation is Operation.UNMANAGE and snapshot.status is not Status.DELETED
    has_managed_name = snapshot.status is Status.AVAILABLE or unmanaging
    payload = {
        # Derived from the generation, so that a repeated event has the same id.
        "event_id": ids.derive(snapshot.id, str(snapshot.generation)),
        "generation": snapshot.generation,
        "occurred_at": now.isoformat(),
        "snapshot_id": snapshot.id,
        "volume_id": snapshot.volume_id,
        "project_id": requester.project_id,
        "tenant_id": requester.project_id,
        "user_id": requester.user_id,
        "request_id": requester.request_id,
        "global_request_id": requester.global_request_id,
        "host": str(snapshot.location),
        "reference": snapshot.reference.value,
        "backend_name": snapshot.backend_name if has_managed_name else snapshot.original_name,
        "name": snapshot.name,
        "display_name": snapshot.name,
        "metadata": dict(snapshot.metadata),
        "size_gb": snapshot.size_gb,
        "volume_size": snapshot.size_gb,
        "status": snapshot.status.value,
        "attempt": snapshot.attempt,
        "reason": reason if snapshot.reason and snapshot.reason_code else None,
        "created_at": snapshot.created_at.isoformat(),
        "backend_created_at": born.isoformat() if born else None,
        "deleted": snapshot.deleted_at is not None,
    }
    priority = "ERROR" if step is Step.ERROR else "INFO"
    return Event(f"snapshot.{snapshot.operation.value}.{step.value}", priority, payload)


def rejected(
    key: str, method: str, arguments: Mapping[str, Any], reason: str, now: datetime, host: str
) -> Event | None:
    """Return the error event of a request that can't be understood; None if the request names no snapshot.

    The event belongs to no record, so its generation is 0. It repeats those arguments of the request that are texts.
    """
    snapshot_id = _snapshot_id(arguments)
    if snapshot_id is None:
        return None
    given = {name: arguments.get(name) for name in ("volume_id", "project_id", "user_id", "name")}
    known = {name: as_storable(value) if isinstance(value, str) else None for name, value in given.items()}
    payload = dict.fromkeys(PAYLOAD_FIELDS) | known
    payload |= {
        "event_id": ids.derive(key, "rejected"),
        "generation": 0,
        "occurred_at": now.isoformat(),
        "snapshot_id": snapshot_id,
        "tenant_id": known["project_id"],
        "display_name": known["name"],
        "host": host,
        "metadata": {},
        "status": Status.ERROR.value,
        "attempt": 0,
        "reason": {"code": "invalid_request", "text": readable(reason)},
        "deleted": False,
    }
    operation = Operation.UNMANAGE if method in UNMANAGE_METHODS else Operation.MANAGE
    return Event(f"snapshot.{operation.value}.{Step.ERROR.value}", "ERROR", payload)


def _snapshot_id(arguments: Mapping[str, Any]) -> str | None:
    snapshot = arguments.get("snapshot")
    given = arguments.get("snapshot_id")
    if isinstance(snapshot, Mapping) and isinstance(snapshot.get("versioned_object.data"), Mapping):
        given = snapshot["versioned_object.data"].get("id")
    try:
        return ids.parse_uuid("snapshot_id", given)
    except errors.InvalidRequest:
        return None
