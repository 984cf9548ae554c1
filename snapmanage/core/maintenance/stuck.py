"""Operations that take too long, with the reason as a clause for an operator."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from snapmanage.core.records import Operation, Record
from snapmanage.core.services import Service
from snapmanage.core.upstream import Report


@dataclass(frozen=True)
class StuckOperation:
    """An operation that takes too long; `since` is the time of its request, or of its first claim.

    The record of an operation that was retried, or of an unmanage, is older than the request, and `step_at` is the time
    of the request only until the first claim.
    """

    record: Record
    since: datetime
    why: str


def explain(
    record: Record,
    now: datetime,
    patience: timedelta,
    cast_due_at: datetime | None,
    service: Service | None,
    down_after: timedelta,
) -> StuckOperation | None:
    """Explain why a record is under way for longer than `patience`; return None for any other record.

    `cast_due_at` is the time at which the outbox sends the record's cast again, None if the outbox has no cast of it.
    """
    first = record.operation is Operation.MANAGE and record.generation <= 1
    since = (
        record.created_at if first else record.started_at or record.step_at or record.updated_at or record.created_at
    )
    if not record.status.in_progress or now - since < patience:
        return None
    why = f"{_step(record, now, cast_due_at)}; {_server(record, now, service, down_after)}"
    return StuckOperation(record, since, why)


def explain_report(report: Report, enabled: bool) -> str:
    """Explain why the upstream API has not taken a report, with the remedy; `enabled` means that it gets reports."""
    if report.due_at is None:
        return f"it has refused it ({report.reason}); correct its record, then `upstream retry`, or `upstream drop`"
    if not enabled:
        return "[upstream] endpoint is not set; set it, or `upstream drop` the report"
    if report.reason is None:
        return "no snapmanage-volume with [upstream] endpoint has tried yet; check that one is up"
    return f"attempt {report.attempts} failed, the next is at {_time(report.due_at)}: {report.reason}"


def _step(record: Record, now: datetime, cast_due_at: datetime | None) -> str:
    if record.due_at is None:
        sent = "no cast for it is waiting to be sent"
        if cast_due_at is not None:
            sent = f"its cast is sent again at {_time(cast_due_at)}"
        return f"its server hasn't accepted it, and {sent}"
    if record.claimed_by is not None:
        ends = "runs until" if record.due_at > now else "ran out at"
        return f"attempt {record.attempt} is at {record.claimed_by}, whose lease {ends} {_time(record.due_at)}"
    if record.due_at > now:
        return f"attempt {record.attempt} failed, the next is at {_time(record.due_at)}: {record.reason}"
    return f"it is accepted and due since {_time(record.due_at)}, and no worker claims it"


def _server(record: Record, now: datetime, service: Service | None, down_after: timedelta) -> str:
    if service is None:
        return f"{record.location.server} never sent a heartbeat"
    if not service.alive(now, down_after):
        return f"{record.location.server} sent its last heartbeat at {_time(service.heartbeat_at)}"
    return f"{record.location.server} is up"


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
