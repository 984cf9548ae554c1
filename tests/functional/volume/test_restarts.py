"""Requests that wait for a server that is down."""

from collections.abc import Sequence

import pytest

from snapmanage.bus import Consumer, Handle, Probe
from tests.functional.volume.helpers import SNAPSHOT, another_server
from tests.functional.world import World


def test_next_server_carries_out_requests_that_arrive_after_a_drain(world: World) -> None:
    volume = world.register_volume()
    world.server.drain(timeout_seconds=20)
    snapshot_id = world.request_manage(volume, SNAPSHOT)

    with another_server(world):
        assert world.await_settled(snapshot_id)["status"] == "available"


def request_long_ago(world: World, volume: str) -> str:
    """Request a snapshot whose cast was sent six times without success, so that the next attempt is far away."""
    snapshot_id = world.request_manage(volume, SNAPSHOT)
    for sends in range(1, 6):
        world.await_retries(snapshot_id, sends)
        world.clock.advance(minutes=2)
    world.await_retries(snapshot_id, 6)
    return snapshot_id


def test_old_request_is_due_at_once_when_its_server_is_back(world: World) -> None:
    volume = world.register_volume()
    world.server.drain(timeout_seconds=20)
    snapshot_id = request_long_ago(world, volume)

    with another_server(world):
        assert world.await_settled(snapshot_id)["status"] == "available"


def test_cast_that_found_no_queue_while_its_server_started_is_due_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, consume = world.register_volume(), world.bus.consume
    world.server.drain(timeout_seconds=20)
    snapshot_id = request_long_ago(world, volume)

    def too_late(queues: Sequence[str], handle: Handle, probe: Probe) -> Consumer:
        world.await_retries(snapshot_id, 2)  # counted anew since the server started
        return consume(queues, handle, probe)

    monkeypatch.setattr(world.bus, "consume", too_late)

    with another_server(world):
        assert world.await_settled(snapshot_id)["status"] == "available"
