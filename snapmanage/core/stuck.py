"""Why an operation isn't over yet, in a clause for an operator."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from snapmanage.core.records import Operation, Record
from snapmanage.core.services import Service


@dataclass(frozen=True)
class PendingCast:
    """A cast in the outbox, and when it is sent again."""

    due_at: datetime


@dataclass(frozen=True)
class StuckOperation:
    """An operation that was asked for long ago; `since` is when, or for one given back, when it last moved."""

    record: Record
    since: datetime
    why: str


def late(
    record: Record,
    now: datetime,
    patience: timedelta,
    cast: PendingCast | None,
    service: Service | None,
    down_after: timedelta,
) -> StuckOperation | None:
    """What is to be said of a record that is under way for longer than `patience`; None of any other."""
    since = record.created_at if record.operation is Operation.MANAGE else record.updated_at or record.created_at
    if not record.status.in_progress or now - since < patience:
        return None
    return StuckOperation(record, since, f"{_step(record, now, cast)}; {_server(record, now, service, down_after)}")


def _step(record: Record, now: datetime, cast: PendingCast | None) -> str:
    if record.due_at is None:
        sent = "no cast for it is waiting to be sent"
        if cast is not None:
            sent = f"its cast is sent again at {_time(cast.due_at)}"
        return f"its server hasn't accepted it, and {sent}"
    if record.claimed_by is not None:
        ends = "runs until" if record.due_at > now else "ran out at"
        return f"attempt {record.attempt} is at {record.claimed_by}, whose lease {ends} {_time(record.due_at)}"
    if record.due_at > now:
        return f"attempt {record.attempt} failed, the next is at {_time(record.due_at)}: {record.reason}"
    return f"it is accepted and due since {_time(record.due_at)}, and nobody claims it"


def _server(record: Record, now: datetime, service: Service | None, down_after: timedelta) -> str:
    if service is None:
        return f"{record.server} was never heard of"
    if not service.alive(now, down_after):
        return f"{record.server} was last heard of at {_time(service.heartbeat_at)}"
    return f"{record.server} is up"


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
