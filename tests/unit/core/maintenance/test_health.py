"""The checks of a deployment's facts."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from snapmanage.core.maintenance import checks, health
from snapmanage.core.maintenance.checks import Check, State
from snapmanage.core.maintenance.health import Amount, Audit, Facts, QueueFacts, Waiting, Why
from snapmanage.core.outbox import Kind
from snapmanage.core.records import Status
from snapmanage.core.services import Service
from tests.examples import NOW, SERVER

DOWN_AFTER = timedelta(seconds=60)
UP = Service(SERVER, "fake", NOW - timedelta(seconds=5))
FACTS = Facts(NOW, DOWN_AFTER, [UP], {(SERVER, Status.AVAILABLE): Amount(3, 30)})
LONG_AGO = NOW - timedelta(seconds=61)


def check(name: str, **fields: Any) -> Check:
    """Return the check of this name for facts with other fields."""
    (found,) = [each for each in checks.of_facts(replace(FACTS, **fields)) if each.name == name]
    return found


def test_healthy_deployment_passes_every_check_without_a_remedy() -> None:
    found = checks.of_facts(FACTS)

    assert {each.state for each in found} == {State.OK}
    assert {each.remedy for each in found} == {None}


BAD: list[tuple[str, dict[str, Any], State, str]] = [
    ("servers", {"services": []}, State.FAILED, "no server ever sent a heartbeat"),
    ("servers", {"services": [replace(UP, heartbeat_at=LONG_AGO)]}, State.FAILED, f"1 of 1 are down: {SERVER} (last"),
    ("servers", {"services": [replace(UP, disabled_reason="x")]}, State.WARNING, f"these are disabled: {SERVER}"),
    ("records", {"snapshots": {("old@fast", Status.AVAILABLE): Amount(1)}}, State.FAILED, "the records of old@fast"),
    ("operations", {"late": {(SERVER, Why.RETRYING): 2}}, State.WARNING, "2 take longer than 60 s: 2 retrying"),
    (
        "outcomes",
        {"settled": {(SERVER, Status.ERROR): 5, (SERVER, Status.AVAILABLE): 40}},
        State.WARNING,
        "5 of 45 operations failed",
    ),
    ("relay", {"outbox": {Kind.CAST: Waiting(4, LONG_AGO)}}, State.FAILED, "4 messages wait in the outbox, the oldest"),
    ("quarantine", {"quarantine": {"queue": Waiting(2, NOW)}}, State.WARNING, "2 messages: 2 of queue"),
    ("audit chain", {"audit": Audit(broken="row 1 was changed")}, State.FAILED, "row 1 was changed"),
    ("audit lag", {"audit": Audit(lag=NOW - LONG_AGO, unrecorded=1)}, State.WARNING, "the oldest for 61 s"),
    ("audit lag", {"audit": Audit(unrecorded=7, missing=3)}, State.FAILED, "7 events that were sent are not recorded"),
]


@pytest.mark.parametrize(("name", "fields", "state", "text"), BAD)
def test_problem_is_reported_with_its_remedy(name: str, fields: dict[str, Any], state: State, text: str) -> None:
    found = check(name, **fields)

    assert found.state is state
    assert text in found.facts
    assert found.remedy


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("outcomes", {"settled": {(SERVER, Status.ERROR): 4}}),
        ("outcomes", {"settled": {(SERVER, Status.ERROR): 10, (SERVER, Status.AVAILABLE): 90}}),
        ("relay", {"outbox": {Kind.CAST: Waiting(4, NOW - timedelta(seconds=60))}}),
        ("audit lag", {"audit": Audit(lag=timedelta(seconds=60), unrecorded=1)}),
    ],
)
def test_small_numbers_are_no_problem(name: str, fields: dict[str, Any]) -> None:
    assert check(name, **fields).state is State.OK


def test_names_of_many_servers_are_cut() -> None:
    down = [Service(f"storage@{number}", "fake", LONG_AGO) for number in range(8)]

    assert "storage@4 (last heartbeat 61 s ago) and 3 more" in check("servers", services=down).facts


def test_late_operations_of_a_server_that_is_down_have_that_reason() -> None:
    late = {(SERVER, Why.RETRYING): 1, (SERVER, Why.UNCLAIMED): 2, ("gone@fast", Why.RETRYING): 4}

    counted = health.with_reasons(late, [UP], NOW, DOWN_AFTER)

    assert counted == {
        (SERVER, Why.RETRYING): 1,
        (SERVER, Why.UNCLAIMED): 2,
        ("gone@fast", Why.SERVER_DOWN): 4,
    }


@pytest.mark.parametrize(
    ("queues", "state", "text"),
    [
        ([QueueFacts("a", 2, 1), QueueFacts("b", 0, 1)], State.OK, "2 queues with 3 messages"),
        ([QueueFacts("a", 2, 0), QueueFacts("b", 0, 1)], State.FAILED, "these have no consumer: a"),
        ([QueueFacts("a"), QueueFacts("b", 0, 0)], State.FAILED, "these do not exist: a"),
    ],
)
def test_queues_need_consumers(queues: list[QueueFacts], state: State, text: str) -> None:
    broker, found = checks.of_broker(queues, [QueueFacts("dead-letters.a", 1, 1)])

    assert broker.state is State.OK
    assert found.state is state
    assert text in found.facts
