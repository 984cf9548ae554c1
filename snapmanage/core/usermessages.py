"""Messages to users: the reason why an asynchronous operation failed."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from snapmanage.core import reasons
from snapmanage.core.records import Record, Snapshot
from snapmanage.core.values import ids

MESSAGE_LIFETIME = timedelta(days=30)


@dataclass(frozen=True)
class UserMessage:
    """A message as `GET /messages` shows it."""

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

    @property
    def text_for_readers(self) -> str:
        """Return the text for callers who aren't administrators; it is derived from the code in `event_id`."""
        kind, operation, code = self.event_id.lower().split("_", 2)
        return f"{operation} {kind}: {reasons.sentence(code)}"


def of_failure(record: Record, now: datetime) -> UserMessage:
    """Return the message that a failed operation leaves for the project of its record."""
    kind = "snapshot" if isinstance(record, Snapshot) else "volume"
    return UserMessage(
        # With the kind: a client of the broker may name a snapshot by the id of a volume.
        id=ids.derive(record.id, f"{kind} message {record.generation}"),
        project_id=record.requester.project_id,
        resource_type="VOLUME_SNAPSHOT" if kind == "snapshot" else "VOLUME",
        resource_id=record.id,
        request_id=record.requester.request_id,
        event_id=f"{kind}_{record.operation.value}_{record.reason_code}".upper(),
        level="ERROR",
        text=f"{record.operation.value} {kind}: {record.reason}",
        created_at=now,
    )
