"""Queues are bound again at intervals, each of them though the broker refuses another."""

from contextlib import nullcontext
from typing import Any

import pytest
from amqp.exceptions import AccessRefused, ChannelError, PreconditionFailed

from snapmanage.bus.rabbit import rebinding
from snapmanage.bus.rabbit.rebinding import Rebinding
from snapmanage.bus.rabbit.topology import Topology
from snapmanage.testing.waiting import until


def connected(heartbeat_seconds: int) -> Any:
    return nullcontext()


@pytest.mark.parametrize("error", [AccessRefused, PreconditionFailed])
def test_refused_queue_keeps_no_other_queue_from_its_binding(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: type[ChannelError]
) -> None:
    caplog.set_level("INFO")
    bound: list[str] = []

    def refuse_first(connection: object, topology: Topology, key: str) -> None:
        if key == "first":
            raise error("access to queue 'own' refused")
        bound.append(key)

    monkeypatch.setattr(rebinding, "INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(rebinding, "bind_again", refuse_first)
    made = Rebinding(connected, Topology("snapmanage", queue_names={"first": "own"}), ["first", "second"])

    made.start()
    until(lambda: len(bound) > 2, "the second queue to be bound three times")
    made.stop()

    assert set(bound) == {"second"}
    assert "bind queue own again" in caplog.text


def test_missing_right_to_bind_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    tries: list[str] = []

    def refuse(connection: object, topology: Topology, key: str) -> None:
        tries.append(key)
        raise AccessRefused("access to queue 'own' refused")

    monkeypatch.setattr(rebinding, "INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(rebinding, "bind_again", refuse)
    made = Rebinding(connected, Topology("snapmanage", queue_names={"first": "own"}), ["first"])

    made.start()
    until(lambda: len(tries) > 3, "the queue to be refused four times")
    made.stop()

    [line] = [each for each in caplog.records if "bind queue own again" in each.getMessage()]
    assert line.levelname == "INFO"
