"""Decisions about reports to an upstream API."""

from dataclasses import replace
from typing import Any

import pytest

from snapmanage.core import upstream
from snapmanage.core.change import Change
from snapmanage.core.records import Operation, Status
from snapmanage.core.upstream import Answer, Report, RequestKind, Result, Step
from tests import examples
from tests.examples import NOW, SNAPSHOT_ID

CREATING = examples.snapshot(upstream="cinder", generation=1)
AVAILABLE = replace(CREATING, status=Status.AVAILABLE, generation=2)
UNMANAGING = replace(AVAILABLE, status=Status.UNMANAGING, operation=Operation.UNMANAGE)
NOT_UNMANAGED = replace(UNMANAGING, status=Status.ERROR, generation=4)


def report(request: RequestKind = RequestKind.MANAGE, status: str = "available") -> Report:
    return Report(examples.new_id(), SNAPSHOT_ID, "project", request, status, NOW, NOW)


@pytest.mark.parametrize(
    ("before", "after", "kind", "status"),
    [
        (CREATING, AVAILABLE, RequestKind.MANAGE, "available"),
        (CREATING, replace(CREATING, status=Status.ERROR), RequestKind.MANAGE, "error"),
        (UNMANAGING, NOT_UNMANAGED, RequestKind.UNMANAGE, "error"),
        (replace(AVAILABLE, upstream=None), AVAILABLE, RequestKind.MANAGE, "available"),
        (replace(NOT_UNMANAGED, upstream=None), NOT_UNMANAGED, RequestKind.MANAGE, "error"),
    ],
    ids=["managed", "not managed", "not unmanaged", "settled before the upstream asked", "in error before it asked"],
)
def test_end_of_a_request_of_the_upstream_is_reported(before: Any, after: Any, kind: RequestKind, status: str) -> None:
    owed = upstream.report_of(Change(before, after), NOW)

    assert owed is not None
    assert (owed.snapshot_id, owed.project_id) == (after.id, after.requester.project_id)
    assert (owed.request, owed.status, owed.due_at) == (kind, status, NOW)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (replace(CREATING, upstream=None), replace(AVAILABLE, upstream=None)),
        (CREATING, replace(CREATING, attempt=2)),
        (AVAILABLE, UNMANAGING),
        (UNMANAGING, replace(UNMANAGING, status=Status.DELETED)),
        (AVAILABLE, replace(AVAILABLE, name="new name")),
        (examples.volume(), examples.available_volume()),
    ],
    ids=["request of a client", "retry", "request to unmanage", "unmanaged", "settled already", "volume"],
)
def test_other_change_is_not_reported(before: Any, after: Any) -> None:
    assert upstream.report_of(Change(before, after), NOW) is None


def test_report_of_one_outcome_has_the_same_id_each_time() -> None:
    first, again = (upstream.settled_report(AVAILABLE, RequestKind.MANAGE, NOW) for _ in range(2))

    assert first.id == again.id != upstream.settled_report(NOT_UNMANAGED, RequestKind.MANAGE, NOW).id


@pytest.mark.parametrize(
    ("request_kind", "status", "seen", "step"),
    [
        ("manage", "available", "available", Step.DONE),
        ("manage", "available", "error", Step.RESET),
        ("manage", "error", "available", Step.RESET),
        ("manage", "available", "creating", Step.REFUSED),
        ("manage", "available", "unmanaging", Step.MOOT),
        ("manage", "available", "deleting", Step.MOOT),
        ("unmanage", "error", "unmanaging", Step.RESET),
        ("unmanage", "error", "error", Step.DONE),
        ("unmanage", "error", "available", Step.MOOT),
        ("refused", "error_deleting", "deleting", Step.REFUSED),
        ("refused", "error_deleting", "available", Step.MOOT),
        ("refused", "error", "available", Step.MOOT),
    ],
)
def test_status_of_the_upstream_decides_about_the_next_step(
    request_kind: str, status: str, seen: str, step: Step
) -> None:
    assert upstream.next_step(report(RequestKind(request_kind), status), seen) is step


@pytest.mark.parametrize("kind", RequestKind)
def test_only_an_unmanage_is_looked_at_first(kind: RequestKind) -> None:
    expected = Step.LOOK if kind is RequestKind.UNMANAGE else Step.UPDATE

    assert upstream.first_step(report(kind)) is expected


@pytest.mark.parametrize(
    ("status", "body", "result"),
    [
        (404, {"itemNotFound": {"message": f"Snapshot {SNAPSHOT_ID} could not be found."}}, Result.GONE),
        (404, {"itemNotFound": {"message": "The resource could not be found."}}, Result.AWAY),
        (404, "<html>", Result.AWAY),
        (405, None, Result.AWAY),
        (302, None, Result.AWAY),
        (401, None, Result.AWAY),
        (403, {"forbidden": {"message": "Policy doesn't allow it."}}, Result.AWAY),
        (429, None, Result.AWAY),
        (502, None, Result.AWAY),
        (503, None, Result.AWAY),
        (200, "a page", Result.AWAY),
        (500, None, Result.FAILED),
        (501, None, Result.FAILED),
        (400, None, Result.REFUSED),
        (413, None, Result.REFUSED),
    ],
)
def test_answer_decides_whether_the_report_is_retried(status: int, body: Any, result: Result) -> None:
    assert upstream.judge(report(), Answer(status, body)).result is result


@pytest.mark.parametrize(
    "body", [None, [], {}, {"a": 1}, {"a": {"message": 5}}, "\x1b[31m" * 900, {"a": {"message": "\n" * 9999}}, 7]
)
def test_text_of_any_body_is_printable_and_short(body: Any) -> None:
    text = upstream.explanation(body)

    assert text.isprintable()
    assert len(text) <= 2001


@pytest.mark.parametrize("body", [None, [], "x", {}, {"snapshot": []}, {"snapshot": {}}, {"snapshot": {"status": 5}}])
def test_body_without_a_snapshot_shows_no_status(body: Any) -> None:
    assert upstream.status_shown(body) is None
