"""An entry becomes an event of CADF, also if a client has published nonsense."""

import json
from typing import Any

import pytest

from snapmanage.core import events
from snapmanage.core.audit import cadf, chain
from snapmanage.core.audit.chain import START, Entry
from snapmanage.core.events import Step
from snapmanage.core.records import Operation, Status
from tests import examples
from tests.examples import LOG_ID, NOW, PROJECT, REQUESTER, SNAPSHOT_ID


def entry(step: Step = Step.END, **fields: Any) -> Entry:
    event = events.announce(examples.snapshot(**{"generation": 2} | fields), step, NOW)
    return chain.next_entry(START, event.event_type, event.payload, NOW)


@pytest.mark.parametrize(
    ("operation", "step", "action", "outcome"),
    [
        (Operation.MANAGE, Step.START, "enable/manage", "pending"),
        (Operation.MANAGE, Step.END, "enable/manage", "success"),
        (Operation.UNMANAGE, Step.ERROR, "disable/unmanage", "failure"),
    ],
)
def test_operation_is_an_action_and_its_step_an_outcome(
    operation: Operation, step: Step, action: str, outcome: str
) -> None:
    made = cadf.event(entry(step, operation=operation), LOG_ID)

    assert (made["action"], made["outcome"], made["eventType"]) == (action, outcome, "activity")


def test_event_names_the_requester_the_snapshot_and_the_log() -> None:
    made = cadf.event(entry(name="my snapshot"), LOG_ID)

    assert made["initiator"]["id"] == REQUESTER.user_id
    assert made["initiator"]["project_id"] == PROJECT
    assert (made["target"]["id"], made["target"]["name"]) == (SNAPSHOT_ID, "my snapshot")
    assert made["observer"]["id"] == LOG_ID
    assert made["eventTime"] == NOW.isoformat()


def test_error_has_its_reason() -> None:
    failed = entry(Step.ERROR, status=Status.ERROR, reason="gone", reason_code="source_not_found")

    assert cadf.event(failed, LOG_ID)["reason"] == {"reasonType": "snapmanage", "reasonCode": "source_not_found"}


def test_attachment_is_the_whole_row() -> None:
    [attached] = cadf.event(entry(), LOG_ID)["attachments"]

    assert attached["content"] == chain.exported(vars(entry()))


@pytest.mark.parametrize("content", ["", "[]", "7", json.dumps({"user_id": {}, "occurred_at": 7, "name": ["x"]})])
def test_event_with_other_content_is_still_an_event(content: str) -> None:
    odd = Entry(**vars(entry()) | {"content": content, "event_type": "snapshot.manage.other"})

    made = cadf.event(odd, "")

    assert (made["outcome"], made["initiator"]["id"], made["observer"]["id"]) == ("unknown",) * 3
    assert "name" not in made["target"]
    assert made["eventTime"] == NOW.isoformat()
