"""What snapmanage announces: events of a snapshot's operations, and messages to its users."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from snapmanage.core.records import Operation, Record, Requester, Snapshot, Status, readable

__all__ = ["PAYLOAD_FIELDS", "Event", "Step"]

MESSAGE_LIFETIME = timedelta(days=30)
NOBODY = Requester(project_id="")
UNMANAGE_METHODS = ("unmanage_snapshot", "delete_snapshot")
# `event.schema.json` beside this file says what each of them may be.
PAYLOAD_FIELDS = (
    "event_id",
    "generation",
    "previous_generation",
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
    """The steps of an operation that are announced; the value ends the event's type."""

    START = "start"
    END = "end"
    ERROR = "error"


@dataclass(frozen=True)
class Event:
    """One announcement: `snapshot.manage.start` and the like, with the payload that listeners get."""

    event_type: str
    priority: str
    payload: dict[str, Any]

    @property
    def event_id(self) -> str:
        return str(self.payload["event_id"])


@dataclass(frozen=True)
class UserMessage:
    """Why an asynchronous operation failed, as `GET /messages` shows it."""

    id: str
    project_id: str
    resource_type: str
    resource_id: str
    request_id: str | None
    event_id: str
    level: str
    text: str
    created_at: datetime

    @property
    def guaranteed_until(self) -> datetime:
        return self.created_at + MESSAGE_LIFETIME


def announce(snapshot: Snapshot, step: Step, now: datetime) -> Event:
    """The event of a step that has just taken `snapshot` to where it is."""
    return Event(
        event_type=f"snapshot.{snapshot.operation.value}.{step.value}",
        priority="ERROR" if step is Step.ERROR else "INFO",
        payload=_payload(snapshot, now),
    )


def event_id(snapshot_id: str, generation: int) -> str:
    """The same in every repeat, and another for every step."""
    return str(uuid.uuid5(uuid.UUID(snapshot_id), str(generation)))


def tell_user(record: Record, now: datetime) -> UserMessage:
    """The message that a failed operation leaves for its project."""
    kind = "snapshot" if isinstance(record, Snapshot) else "volume"
    return UserMessage(
        id=str(uuid.uuid5(uuid.UUID(record.id), f"message {record.generation}")),
        project_id=record.requester.project_id,
        resource_type="VOLUME_SNAPSHOT" if kind == "snapshot" else "VOLUME",
        resource_id=record.id,
        request_id=record.requester.request_id,
        event_id=f"{kind}_{record.operation.value}_{record.reason_code}".upper(),
        level="ERROR",
        text=f"{record.operation.value} {kind}: {record.reason}",
        created_at=now,
    )


def rejected(
    key: str, method: str, arguments: Mapping[str, Any], reason: str, now: datetime, host: str
) -> Event | None:
    """The error event of a request that can't be understood; None where it names no snapshot.

    It belongs to no record, so its generation is 0; what the request said is repeated where it is text.
    """
    snapshot_id = _snapshot_id(arguments)
    if snapshot_id is None:
        return None
    said = {name: arguments.get(name) for name in ("volume_id", "project_id", "user_id", "name")}
    known = {name: readable(value) if isinstance(value, str) else None for name, value in said.items()}
    payload = dict.fromkeys(PAYLOAD_FIELDS) | known
    payload |= {
        "event_id": str(uuid.uuid5(uuid.UUID(key), "rejected")),
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


def _payload(snapshot: Snapshot, now: datetime) -> dict[str, Any]:
    asked = snapshot.requester
    return {
        "event_id": event_id(snapshot.id, snapshot.generation),
        "generation": snapshot.generation,
        "previous_generation": snapshot.announced,
        "occurred_at": now.isoformat(),
        "snapshot_id": snapshot.id,
        "volume_id": snapshot.volume_id,
        "project_id": asked.project_id,
        "tenant_id": asked.project_id,
        "user_id": asked.user_id,
        "request_id": asked.request_id,
        "global_request_id": asked.global_request_id,
        "host": snapshot.host,
        "reference": snapshot.reference.value,
        "backend_name": _name_afterwards(snapshot),
        "name": snapshot.name,
        "display_name": snapshot.name,
        "metadata": dict(snapshot.metadata),
        "size_gb": snapshot.size_gb,
        "volume_size": snapshot.size_gb,
        "status": snapshot.status.value,
        "attempt": snapshot.attempt,
        "reason": _reason(snapshot),
        "created_at": snapshot.created_at.isoformat(),
        "backend_created_at": _iso(snapshot.backend_created_at),
        "deleted": snapshot.deleted_at is not None,
    }


def _name_afterwards(snapshot: Snapshot) -> str | None:
    """The backend object's name after the step, as far as it is known."""
    if snapshot.status is Status.DELETED:
        return snapshot.original_name
    settled_managed = snapshot.status is Status.AVAILABLE or snapshot.operation is Operation.UNMANAGE
    return snapshot.backend_name if settled_managed else snapshot.original_name


def _reason(snapshot: Snapshot) -> dict[str, str] | None:
    if snapshot.reason is None or snapshot.reason_code is None:
        return None
    return {"code": snapshot.reason_code, "text": snapshot.reason}


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _snapshot_id(arguments: Mapping[str, Any]) -> str | None:
    snapshot = arguments.get("snapshot")
    given = arguments.get("snapshot_id")
    if isinstance(snapshot, Mapping) and isinstance(snapshot.get("versioned_object.data"), Mapping):
        given = snapshot["versioned_object.data"].get("id")
    try:
        return str(uuid.UUID(given))
    except (ValueError, AttributeError, TypeError):
        return None
