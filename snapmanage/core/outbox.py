"""Messages about changes of state; they wait in the outbox until they are sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from snapmanage.core.events import Event
from snapmanage.core.records import Operation, Record, Requester, Snapshot
from snapmanage.core.values import ids

# Cinder's event types of these steps, which its collectors know; Cinder has none for an error.
CINDER_EVENT_TYPES = {
    "snapshot.manage.start": "snapshot.manage_existing_snapshot.start",
    "snapshot.manage.end": "snapshot.manage_existing_snapshot.end",
    "snapshot.unmanage.start": "snapshot.delete.start",
    "snapshot.unmanage.end": "snapshot.delete.end",
}


class Kind(Enum):
    CAST = "cast"
    NOTIFICATION = "notification"


@dataclass(frozen=True)
class Message:
    """One message.

    A cast goes to the server `target` and calls its method `name` with `body` as arguments. A
    notification of the event type `name` is published by `target` with `body` as its payload. `id`
    is the same each time the message is sent. `context` has the ids of the requester, and never a token.
    """

    id: str
    kind: Kind
    record_id: str
    target: str
    name: str
    body: Mapping[str, Any]
    priority: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict)


def cast(record: Record) -> Message:
    """Return the cast that requires a record's operation from its server."""
    kind = "snapshot" if isinstance(record, Snapshot) else "volume"
    body: dict[str, Any] = {f"{kind}_id": record.id}
    if record.operation is Operation.UNMANAGE:
        # The generation of the latest event before the request: by it the server recognizes a repeated cast of a
        # request that has failed.
        body["generation"] = record.generation
    return Message(
        id=ids.derive(record.id, f"cast {record.generation}"),
        kind=Kind.CAST,
        record_id=record.id,
        target=record.location.server,
        name=method_of(record),
        body=body,
        context=vars(record.requester),
    )


def method_of(record: Record) -> str:
    """Return the RPC method that requires a record's operation."""
    return f"{record.operation.value}_{'snapshot' if isinstance(record, Snapshot) else 'volume'}"


def notifications(event: Event, requester: Requester, both_dialects: bool) -> list[Message]:
    """Return the notification of an event, and with `both_dialects` another one of Cinder's event type, if any."""
    also = CINDER_EVENT_TYPES.get(event.event_type) if both_dialects else None
    own = Message(
        id=event.payload["event_id"],
        kind=Kind.NOTIFICATION,
        record_id=event.payload["snapshot_id"],
        target=f"snapshot.{event.payload['host'].partition('#')[0]}",
        name=event.event_type,
        body=event.payload,
        priority=event.priority,
        context=vars(requester),
    )
    return [own, replace(own, id=ids.derive(own.id, also), name=also)] if also else [own]
