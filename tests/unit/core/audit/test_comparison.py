"""Two events of one id are the same, or one of them is forged; the record shows which."""

from typing import Any

import pytest

from snapmanage.core import events
from snapmanage.core.audit.comparison import contradictions, differing
from snapmanage.core.events import Step
from snapmanage.core.records import Operation, Snapshot, Status
from tests import examples
from tests.examples import NOW, new_id

START = "snapshot.manage.start"
SETTLED = [
    (Step.END, {"status": Status.AVAILABLE}),
    (Step.ERROR, {"status": Status.ERROR, "reason": "gone", "reason_code": "source_not_found"}),
    (Step.END, {"status": Status.DELETED, "operation": Operation.UNMANAGE, "deleted_at": NOW}),
]


def settled(**fields: Any) -> Snapshot:
    return examples.snapshot(**{"status": Status.AVAILABLE, "generation": 2, "backend_name": "managed"} | fields)


@pytest.mark.parametrize(("first", "second"), [(1, True), (1, 1.0), (0, False), (None, 0), ("1", 1), ({}, [])])
def test_values_that_json_distinguishes_differ(first: Any, second: Any) -> None:
    assert differing(START, {"x": first}, START, {"x": second}) == ["x"]


def test_type_and_missing_fields_count() -> None:
    assert differing(START, {"a": 1, "b": None}, "snapshot.manage.end", {"a": 1}) == ["event_type", "b"]


def test_time_of_a_rejection_does_not_count() -> None:
    first, second = ({"generation": 0, "occurred_at": at, "status": "error"} for at in ("1", "2"))

    assert differing(START, first, START, second) == []
    assert differing(START, first | {"generation": 1}, START, second | {"generation": 1}) == ["occurred_at"]


@pytest.mark.parametrize(("step", "fields"), SETTLED)
def test_announced_event_agrees_with_its_record(step: Step, fields: dict[str, Any]) -> None:
    record = settled(**fields)
    event = events.announce(record, step, NOW)

    assert contradictions(record, event.event_type, event.payload) == []


@pytest.mark.parametrize(
    ("forged", "names"),
    [
        ({"status": "error"}, ["status"]),
        ({"backend_name": "another"}, ["backend_name"]),
        ({"reason": {"code": "in_use", "text": "x"}}, ["reason"]),
        ({"volume_id": new_id(), "user_id": "mallory"}, ["volume_id", "user_id"]),
        ({"size_gb": 7, "name": "renamed", "metadata": {}}, []),
    ],
)
def test_field_that_no_one_changes_must_agree(forged: dict[str, Any], names: list[str]) -> None:
    record = settled()
    event = events.announce(record, Step.END, NOW)

    assert contradictions(record, event.event_type, event.payload | forged) == names


def test_other_step_contradicts_the_record() -> None:
    event = events.announce(settled(), Step.END, NOW)

    assert contradictions(settled(), "snapshot.manage.error", event.payload) == ["event_type"]


@pytest.mark.parametrize(
    ("status", "event_type", "names"),
    [
        (Status.CREATING, START, []),
        (Status.CREATING, "snapshot.manage.end", ["event_type"]),
        (Status.UNMANAGING, "snapshot.manage.end", []),
        (Status.UNMANAGING, "snapshot.unmanage.start", []),
        (Status.UNMANAGING, "snapshot.unmanage.end", ["event_type"]),
    ],
)
def test_record_in_progress_admits_the_events_before(status: Status, event_type: str, names: list[str]) -> None:
    assert contradictions(settled(status=status), event_type, {}) == names
