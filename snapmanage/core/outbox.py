"""Messages that a change of state owes the bus; they wait in the outbox until they are carried."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

from snapmanage.core import ids
from snapmanage.core.events import Event
from snapmanage.core.records import Operation, Record, Requester, Snapshot

# What the reference calls the same steps, for collectors written for it; it has no name for an error.
REFERENCE_NAMES = {
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
    is the same whenever it is sent.
    """

    id: str
    kind: Kind
    record_id: str
    target: str
    name: str
    body: Mapping[str, Any]
    priority: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def body_text(self) -> str:
        """The body as JSON, in ASCII; written once for outbox and bus."""
        return json.dumps(self.body, separators=(",", ":"))


def cast(record: Record) -> Message:
    """The cast that asks a record's server for the operation that is due."""
    kind = "snapshot" if isinstance(record, Snapshot) else "volume"
    return Message(
        id=ids.derive(record.id, f"cast {record.generation}"),
        kind=Kind.CAST,
        record_id=record.id,
        target=record.server,
        name=method_of(kind, record.operation),
        body={f"{kind}_id": record.id, **_asked_at(record)},
        context=context(record.requester),
    )


def _asked_at(record: Record) -> dict[str, Any]:
    """By the generation of the latest event before the request, a repeat after a failure is known as such."""
    return {"generation": record.generation} if record.operation is Operation.UNMANAGE else {}


def method_of(kind: str, operation: Operation) -> str:
    """The RPC method of an operation, such as `manage_snapshot`."""
    return f"{operation.value}_{kind}"


def notifications(event: Event, requester: Requester, both_dialects: bool) -> list[Message]:
    """The notification of an event, and once more under the reference's name where that is wanted."""
    names = [event.event_type]
    if both_dialects and event.event_type in REFERENCE_NAMES:
        names.append(REFERENCE_NAMES[event.event_type])
    return [_notification(event, name, requester) for name in names]


def context(requester: Requester) -> dict[str, Any]:
    """Who asked, as it crosses the bus: never a token."""
    return {
        "user_id": requester.user_id,
        "project_id": requester.project_id,
        "request_id": requester.request_id,
        "global_request_id": requester.global_request_id,
    }


def _notification(event: Event, name: str, requester: Requester) -> Message:
    own = name == event.event_type
    return Message(
        id=event.event_id if own else ids.derive(event.event_id, name),
        kind=Kind.NOTIFICATION,
        record_id=event.payload["snapshot_id"],
        target=f"snapshot.{event.payload['host'].partition('#')[0]}",
        name=name,
        body=event.payload,
        priority=event.priority,
        context=context(requester),
    )
