"""Reports to an upstream API that keeps records of its own, such as Cinder's: the outcome of each of its requests.

The upstream takes a report by the action `os-update_snapshot_status`, which accepts a first outcome only. A snapshot
that has an outcome already, or is `unmanaging`, takes another status by `os-reset_status`. No action reports the end of
an unmanage, since only the upstream's own server deletes its records.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from snapmanage.core.change import Change
from snapmanage.core.records import Operation, Record, Snapshot, Status
from snapmanage.core.values import ids
from snapmanage.core.values.text import readable


class RequestKind(Enum):
    """The request of the upstream that a report ends.

    `REFUSED` is a request to manage or to delete that left no record, so that a later status of the upstream counts.
    """

    MANAGE = "manage"
    UNMANAGE = "unmanage"
    REFUSED = "refused"


@dataclass(frozen=True)
class Report:
    """The status that the upstream's record of a snapshot must get, since a request has ended.

    `id` is the same for each report of the same outcome. `due_at` is None while the report is quarantined, `reason` is
    the last failure.
    """

    id: str
    snapshot_id: str
    project_id: str
    request: RequestKind
    status: str
    created_at: datetime
    due_at: datetime | None = None
    attempts: int = 0
    reason: str | None = None


class Step(Enum):
    """The next step of a delivery, or its end."""

    UPDATE = "post os-update_snapshot_status"
    LOOK = "get the snapshot, whose status decides"
    RESET = "post os-reset_status"
    DONE = "the upstream shows the outcome"
    MOOT = "the upstream's record has changed since, and the outcome doesn't matter any more"
    REFUSED = "the upstream refuses a status that it should take"


class Result(Enum):
    """The result of an attempt to deliver a report."""

    TAKEN = "the upstream shows the outcome"
    MOOT = "the upstream's record has changed since"
    GONE = "the upstream has no such record"
    FAILED = "the upstream fails for this report; it is retried"
    AWAY = "the upstream answers no report; all are retried"
    REFUSED = "the upstream refuses the report for good"


@dataclass(frozen=True)
class Answer:
    """An answer of the upstream: the status of HTTP, the JSON of its body, and the seconds of `Retry-After`."""

    status: int
    body: Any = None
    retry_after: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The result of an attempt, with a text for the operator."""

    result: Result
    text: str = ""
    retry_after: float | None = None


# The status of HTTP that the upstream gives to an action that it has carried out.
ACCEPTED = 202
# Answers that say nothing about the report: they come from a proxy, or require a change of the configuration.
_OF_NO_REPORT = {401, 403, 407, 408, 425, 429, 502, 503, 504}


def report_of(change: Change[Record], now: datetime) -> Report | None:
    """Return the report that a change owes to the upstream; None if no request of the upstream ends with it."""
    before, after = change.before, change.after
    if not isinstance(before, Snapshot) or not isinstance(after, Snapshot) or not after.upstream:
        return None
    if after.status not in (Status.AVAILABLE, Status.ERROR):
        return None
    if not before.status.in_progress and before.upstream:
        return None
    asked_now = not before.upstream or after.operation is Operation.MANAGE
    kind = RequestKind.MANAGE if asked_now else RequestKind.UNMANAGE
    return settled_report(after, kind, now)


def settled_report(snapshot: Snapshot, request: RequestKind, now: datetime) -> Report:
    """Return the report of a settled snapshot."""
    return Report(
        id=ids.derive(snapshot.id, f"upstream {snapshot.generation}"),
        snapshot_id=snapshot.id,
        project_id=snapshot.requester.project_id,
        request=request,
        status=snapshot.status.value,
        created_at=now,
        due_at=now,
    )


def first_step(report: Report) -> Step:
    """Return the first step of a delivery; nothing is sent for an unmanage before the upstream's status is known."""
    return Step.LOOK if report.request is RequestKind.UNMANAGE else Step.UPDATE


def next_step(report: Report, seen: str) -> Step:
    """Return the step after the upstream has shown the status `seen`: it has not taken an update."""
    if seen == report.status:
        return Step.DONE
    match report.request:
        case RequestKind.MANAGE:
            known = {"creating": Step.REFUSED, "available": Step.RESET, "error": Step.RESET}
        case RequestKind.UNMANAGE:
            known = {"unmanaging": Step.RESET}
        case RequestKind.REFUSED:
            known = {"creating": Step.REFUSED, "deleting": Step.REFUSED}
    return known.get(seen, Step.MOOT)


def judge(report: Report, answer: Answer) -> Verdict:
    """Return the result of an attempt whose last answer was no success."""
    text = f"HTTP {answer.status}: {explanation(answer.body)}"
    if answer.status == 404 and report.snapshot_id in explanation(answer.body):
        return Verdict(Result.GONE, text)
    if answer.status in (404, 405):
        return Verdict(Result.AWAY, f"{text}; check the path of [upstream] endpoint", answer.retry_after)
    if 300 <= answer.status < 400:
        return Verdict(Result.AWAY, f"{text}; redirections are not followed, correct [upstream] endpoint")
    if answer.status in (401, 403):
        return Verdict(Result.AWAY, f"{text}; check the credentials in [upstream], whose user needs the role admin")
    if answer.status in _OF_NO_REPORT or answer.status < 300:
        return Verdict(Result.AWAY, text, answer.retry_after)
    if answer.status >= 500:
        return Verdict(Result.FAILED, text, answer.retry_after)
    return Verdict(Result.REFUSED, text)


def explanation(body: Any) -> str:
    """Return the text of an error in a body of the reference's form, or a part of any other body."""
    if isinstance(body, Mapping):
        for error in body.values():
            if isinstance(error, Mapping) and isinstance(message := error.get("message"), str):
                return readable(message[:500])
    return readable(str(body)[:200]) if body else "no text"


def status_shown(body: Any) -> str | None:
    """Return the status of the snapshot that a body shows; None if the body shows no snapshot."""
    snapshot = body.get("snapshot") if isinstance(body, Mapping) else None
    status = snapshot.get("status") if isinstance(snapshot, Mapping) else None
    return status if isinstance(status, str) else None
