"""A drained server settles or releases its operations."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from snapmanage.bus import Delivery
from snapmanage.bus.inprocess import InProcessConsumer
from snapmanage.core.records import Operation, Snapshot
from snapmanage.manage import acceptance, claims, settling
from snapmanage.manage.acceptance import Accepted, OperationRequest
from snapmanage.manage.claims import Claimed
from snapmanage.testing.waiting import until
from snapmanage.volume.worker import Worker
from tests.functional.client import SERVER
from tests.functional.volume.helpers import OTHERS, SNAPSHOT, CountingDriver, another_server, count_workers, request
from tests.functional.world import PACE, World, running_world


def test_drain_settles_claimed_operations_and_claims_no_others(world: World) -> None:
    volume = world.register_volume()
    with world.hang_at("rename") as slow:
        held = world.request_manage(volume, SNAPSHOT)
        slow.reached()
        drained: list[bool] = []
        draining = threading.Thread(target=lambda: drained.append(world.server.drain(timeout_seconds=20)))
        draining.start()
        until(lambda: not world.bus.has_consumer(SERVER), "the server to take nothing more")
        later = world.request_manage(volume, OTHERS[0])

        slow.release()
        draining.join(20)

    assert drained == [True]
    assert world.client.snapshot(held)["status"] == "available"
    assert world.client.snapshot(later)["status"] == "creating"


def accept_for(world: World, worker: Worker, snapshot_id: str) -> None:
    """Accept a request to manage a snapshot and claim it for the worker, as if it had room."""
    request = OperationRequest(Snapshot, snapshot_id, Operation.MANAGE)
    accepted = acceptance.accept(world.app, [request], worker.id, room=1)
    worker.take_claimed(accepted.claimed, accepted.projects_waiting)


def test_operation_that_arrives_as_a_drain_begins_is_settled(world: World) -> None:
    volume = world.register_volume()
    world.bus.away = True
    snapshot_id = world.request_manage(volume, SNAPSHOT)
    worker = Worker(world.app, SERVER, world.driver, "another", PACE)
    accept_for(world, worker, snapshot_id)

    worker.drain()
    worker.start()

    assert worker.finish(time.monotonic() + 20)
    assert world.client.snapshot(snapshot_id)["status"] == "available"


def test_drain_settles_or_releases_the_batch_that_a_consumer_handles(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, claimed, released = world.register_volume(), threading.Event(), threading.Event()
    accept, join = acceptance.accept, InProcessConsumer.join

    def accept_slowly(*arguments: Any) -> Accepted:
        accepted = accept(*arguments)
        claimed.set()
        released.wait(60)
        return accepted

    def finish(consumer: InProcessConsumer, timeout_seconds: float) -> None:
        released.set()
        join(consumer, timeout_seconds)

    monkeypatch.setattr(acceptance, "accept", accept_slowly)
    monkeypatch.setattr(InProcessConsumer, "join", finish)
    snapshot_id = world.request_manage(volume, SNAPSHOT)
    assert claimed.wait(20)

    world.server.drain(timeout_seconds=20)

    assert world.record(snapshot_id).claimed_by is None
    released.set()


def test_operation_of_a_stuck_call_is_released_and_carried_out_by_another_server(tmp_path: Path) -> None:
    driver = CountingDriver()
    with running_world(tmp_path, {SERVER: driver}) as world:
        volume = world.register_volume()
        with world.hang_at("rename") as stuck:
            snapshot_id = world.request_manage(volume, SNAPSHOT)
            stuck.reached()

            finished = world.server.drain(timeout_seconds=0)

            assert finished is False
            released = world.record(snapshot_id)
            assert (released.claimed_by, released.attempt) == (None, 0)
            with another_server(world):
                assert world.await_settled(snapshot_id)["status"] == "available"
                settled = world.record(snapshot_id)

                stuck.release()
                until(lambda: count_workers() == 1, "the late worker to leave")

                assert world.record(snapshot_id) == settled
                assert driver.renames == [(SNAPSHOT, f"snapshot-{snapshot_id}")]
                assert world.audited_events(snapshot_id, ".end") == ["snapshot.manage.start", "snapshot.manage.end"]


def test_drain_ends_without_an_error_if_the_database_fails_at_the_release(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise OperationalError("UPDATE", {}, Exception("the server has gone away"))

    volume = world.register_volume()
    monkeypatch.setattr(claims, "release", fail)
    with world.hang_at("rename") as stuck:
        world.request_manage(volume, SNAPSHOT)
        stuck.reached()

        assert world.server.drain(timeout_seconds=0) is False

    assert "Claims were not released; their leases expire instead" in caplog.text


def test_claimed_operation_that_has_not_begun_is_released_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    volume, settle, writing, back = world.register_volume(), settling.settle, threading.Event(), threading.Event()

    def slowly(*arguments: Any) -> Any:
        writing.set()
        back.wait(60)
        return settle(*arguments)

    monkeypatch.setattr(settling, "settle", slowly)
    begun = world.request_manage(volume, SNAPSHOT)
    assert writing.wait(20)
    world.bus.away = True
    claimed = world.request_manage(volume, OTHERS[0])
    # In this thread: the test sees the claim of a delivered request before the worker has received it.
    world.bus.deliver(SERVER, Delivery("queue", request("manage_snapshot", snapshot_id=claimed)))
    assert world.record(claimed).claimed_by
    world.bus.away = False

    world.server.drain(timeout_seconds=0)

    assert [world.record(each).claimed_by for each in (begun, claimed)] == [None, None]
    back.set()
    with another_server(world):
        assert [world.await_settled(each)["status"] for each in (begun, claimed)] == ["available"] * 2


def test_operation_that_is_claimed_again_while_its_worker_shuts_down_is_released_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, claim, found_room, drained = world.register_volume(), claims.claim, threading.Event(), threading.Event()

    def claim_late(*arguments: Any) -> list[Claimed]:
        found_room.set()
        drained.wait(60)
        return claim(*arguments)

    with world.hang_at("rename") as stuck:
        snapshot_id = world.request_manage(volume, SNAPSHOT)
        stuck.reached()
        monkeypatch.setattr(claims, "claim", claim_late)
        world.server.workers[SERVER].nudge()
        assert found_room.wait(20)

        world.server.drain(timeout_seconds=0)
        assert world.record(snapshot_id).claimed_by is None
        drained.set()

        stuck.release()
        until(lambda: count_workers() == 0, "the late worker to leave")
        assert world.record(snapshot_id).claimed_by is None
        with another_server(world):
            assert world.await_settled(snapshot_id)["status"] == "available"


def test_operation_that_is_accepted_for_a_finished_worker_is_released(world: World) -> None:
    volume = world.register_volume()
    world.bus.away = True
    snapshot_id = world.request_manage(volume, SNAPSHOT)
    worker = Worker(world.app, SERVER, world.driver, "another", PACE)
    worker.start()
    worker.drain()
    worker.finish(time.monotonic() + 20)

    accept_for(world, worker, snapshot_id)

    # The server's own worker may have claimed the operation since.
    assert world.record(snapshot_id).claimed_by != worker.id.name
    assert world.await_settled(snapshot_id)["status"] == "available"
