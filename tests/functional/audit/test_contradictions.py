"""An event that contradicts the audit log is quarantined and reported: it can't suppress the true one silently."""

import json
import logging
from typing import Any

import pytest

from snapmanage.audit.listener import Listener
from snapmanage.core import events
from snapmanage.core.events import Step
from snapmanage.manage.maintenance import quarantine
from snapmanage.store.engine.database import Database
from tests.examples import NOW, new_id
from tests.functional.audit.messages import (
    QUEUE,
    altered,
    delivery,
    event,
    findings,
    logged,
    managed,
    quarantined,
    raw,
    record,
)


def test_true_event_behind_a_forged_one_is_quarantined_and_reported(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    snapshot, (start, end) = managed()
    record(database, snapshot)
    forged = altered("snapshot.manage.error", generation=2, status="error")
    listener = Listener(database)

    listener([start, forged])
    with caplog.at_level(logging.ERROR):
        listener([end])

    [kept] = quarantined(database)
    assert kept.body == end.body
    assert kept.event_id == events.announce(snapshot, Step.END, NOW).payload["event_id"]
    assert f"message={kept.id} row=2" in caplog.text
    row, message = findings(database)
    assert row.startswith(f"FORGED: snapshot {snapshot.id}: row 2 contradicts the record in event_type, ")
    assert message.startswith(f"FORGED: message {kept.id} in the quarantine contradicts row 2 ")
    assert message.endswith("; the record agrees with the message, so row 2 is forged")


def test_forged_event_behind_the_true_one_is_quarantined_and_reported(database: Database) -> None:
    snapshot, (start, end) = managed()
    record(database, snapshot)

    Listener(database)([start, end, altered("snapshot.manage.error", generation=2, status="error")])

    [reported] = findings(database)
    assert reported.endswith("; the record agrees with row 2")
    assert len(logged(database)) == 2


def test_contradiction_of_an_earlier_event_is_reported_without_a_proof(database: Database) -> None:
    snapshot, (start, end) = managed()
    record(database, snapshot)

    Listener(database)([start, end, altered(attempt=5)])

    [reported] = findings(database)
    assert " in attempt; the database no longer shows which of the two is right" in reported


def test_contradiction_is_reported_until_an_operator_deletes_its_message(database: Database) -> None:
    snapshot, (start, end) = managed()
    record(database, snapshot)
    Listener(database)([start, end, altered(attempt=5)])
    [kept] = quarantined(database)

    quarantine.drop(database, kept.id)

    assert findings(database) == []


@pytest.mark.parametrize("field", [{"size_gb": 7}, {"size_gb": True}, {"unknown": 1}, {"metadata": {"a": "b"}}])
def test_repeat_that_differs_in_one_field_is_a_contradiction(database: Database, field: dict[str, Any]) -> None:
    first = altered(size_gb=1)

    Listener(database)([first, altered(**{"size_gb": 1} | field)])

    assert len(quarantined(database)) == 1


@pytest.mark.parametrize("queue", [QUEUE, "other-topic.info"])
def test_repeat_from_another_sender_or_topic_is_no_contradiction(database: Database, queue: str) -> None:
    repeated = event()
    content = {"payload": repeated.payload, "event_type": repeated.event_type, "message_id": new_id()}
    other = raw(content | {"publisher_id": "another", "timestamp": "2026-03-02 00:00:00", "priority": "INFO"})

    Listener(database)([delivery(repeated), delivery(repeated, queue), other])

    assert logged(database) == [repeated.payload["event_id"]]
    assert quarantined(database) == []


def test_fields_in_another_order_are_the_same_event(database: Database) -> None:
    repeated = event(metadata={"a": "1", "b": "2"})
    payload = json.loads(json.dumps(repeated.payload, sort_keys=True))

    Listener(database)([delivery(repeated), raw({"event_type": repeated.event_type, "payload": payload})])

    assert quarantined(database) == []


def test_rejected_request_that_is_sent_again_later_is_no_contradiction(database: Database) -> None:
    event_id = new_id()
    first, second = (
        altered("snapshot.manage.error", generation=0, event_id=event_id, status="error", occurred_at=at)
        for at in ("1", "2")
    )

    Listener(database)([first, second])

    assert logged(database) == [event_id]
    assert quarantined(database) == []
