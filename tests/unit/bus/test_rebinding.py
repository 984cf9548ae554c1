"""Queues are bound again at intervals, each of them though the broker refuses another."""

from contextlib import nullcontext
from typing import Any

import pytest
from amqp.exceptions import AccessRefused

from snapmanage.bus.rabbit import rebinding
from snapmanage.bus.rabbit.rebinding import Rebinding
from snapmanage.bus.rabbit.topology import Topology
from snapmanage.testing.waiting import until


def connected(heartbeat_seconds: int) -> Any:
    return nullcontext()


def test_refused_queue_keeps_no_other_queue_from_its_binding(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bound: list[str] = []

    def refuse_first(connection: object, topology: Topology, key: str) -> None:
        if key == "first":
            raise AccessRefused("access to queue 'own' refused")
        bound.append(key)

    monkeypatch.setattr(rebinding, "INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(rebinding, "bind_again", refuse_first)
    made = Rebinding(connected, Topology("snapmanage", queue_names={"first": "own"}), ["first", "second"])

    made.start()
    until(lambda: bool(bound), "the second queue to be bound")
    made.stop()

    assert set(bound) == {"second"}
    assert "The broker refused to bind queue own again" in caplog.text
