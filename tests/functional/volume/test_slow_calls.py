"""Slow and hung calls of a driver delay no other operation."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.bus import envelope
from snapmanage.drivers.fake import FakeDriver
from snapmanage.testing.waiting import until
from snapmanage.volume.limits import BackendLimits
from tests.functional.client import SERVER
from tests.functional.parts import NAMES
from tests.functional.volume.helpers import OTHERS, SNAPSHOT, publish, quarantined, refuse_threads, request, worker_of
from tests.functional.world import OTHER_PROJECT, PACE, RULES, VOLUME, World, running_world

LISTING = "get_manageable_snapshots"
CALLS = "abcdefghijklmnop"


def test_slow_call_delays_no_other_operation(world: World) -> None:
    volume = world.register_volume()
    with world.hang_at("find") as slow:
        waiting = world.request_manage(volume, SNAPSHOT)
        slow.reached()

        done = [world.manage_snapshot(volume, name) for name in OTHERS]

        assert world.client.snapshot(waiting)["status"] == "creating"
        slow.release()
        assert {world.await_settled(snapshot_id)["status"] for snapshot_id in [waiting, *done]} == {"available"}


def test_slow_backend_delays_no_other_backend(tmp_path: Path) -> None:
    fast, slow = FakeDriver(), FakeDriver()
    with running_world(tmp_path, {"storage-1@fast": fast, "storage-1@slow": slow}) as world:
        quick = world.register_volume(host="storage-1@fast")
        lame = world.register_volume(host="storage-1@slow")
        with world.hang_at("find", of="storage-1@slow") as stuck:
            waiting = world.request_manage(lame, SNAPSHOT)
            stuck.reached()

            done = world.manage_snapshot(quick, SNAPSHOT)

            assert world.client.snapshot(waiting)["status"] == "creating"
        assert world.await_settled(waiting)["status"] == "available"
        assert f"snapshot-{done}" in {seen.name for seen in fast.list_snapshots()}
        assert f"snapshot-{waiting}" in {seen.name for seen in slow.list_snapshots()}


def test_long_queue_of_one_project_delays_no_other_project(tmp_path: Path) -> None:
    backends = {SERVER: FakeDriver(fake_volumes=2, fake_snapshots=40)}
    with running_world(
        tmp_path, backends, backend_limits=BackendLimits(driver_calls=1, scan_interval_seconds=0.02)
    ) as world:
        volume, other = world.register_volume(), world.another_client(OTHER_PROJECT)
        other_volume = other.manage_volume("volume-2").json()["volume"]["id"]
        until(lambda: other.volume(other_volume)["status"] == "available", "the other volume to be available")
        with world.hang_at("find") as slow:
            queue = [world.request_manage(volume, f"volume-1-snapshot-{number}") for number in range(1, 41)]
            slow.reached()
            late = other.manage(other_volume, "volume-2-snapshot-1").json()["snapshot"]["id"]
        until(lambda: other.snapshot(late)["status"] == "available", "the late one to be available")
        for snapshot_id in queue:
            world.await_settled(snapshot_id)

        ended = [world.record(each).updated_at for each in (late, *queue)]

        assert sorted(ended, key=str).index(ended[0]) < len(queue) / 2
        other.close()


def test_hung_call_is_abandoned_and_its_operation_retried(tmp_path: Path) -> None:
    with running_world(tmp_path) as world:
        volume = world.register_volume()
        with world.hang_at("rename") as stuck:
            snapshot_id = world.request_manage(volume, SNAPSHOT)
            stuck.reached()
            with short_driver_timeout(world):
                assert "0.3 s" in (world.await_failed_attempt(snapshot_id, attempt=1).reason or "")
            world.clock.advance(minutes=2)

            assert world.await_settled(snapshot_id)["status"] == "available"

        assert world.client.operation(snapshot_id)["attempt"] == 2
        assert world.audited_events(snapshot_id, ".end") == ["snapshot.manage.start", "snapshot.manage.end"]


@contextmanager
def short_driver_timeout(world: World) -> Iterator[None]:
    """Give the driver's calls a third of a second inside the block; on a busy machine a good call may take longer."""
    worker = worker_of(world)
    patient = worker.limits
    worker.limits = replace(patient, driver_timeout_seconds=0.3)
    try:
        yield
    finally:
        worker.limits = patient


def test_operation_whose_calls_all_hang_ends_in_error_and_delays_no_other(tmp_path: Path) -> None:
    with running_world(tmp_path, {SERVER: FakeDriver()}, backend_limits=replace(PACE, driver_calls=1)) as world:
        volume, released = world.register_volume(), threading.Event()

        def hook(step: str) -> None:
            if step == "find":
                released.wait(60)

        world.driver.hook = hook
        with short_driver_timeout(world):
            snapshot_id = world.request_manage(volume, SNAPSHOT)
            for attempt in range(1, RULES.retry.max_attempts):
                world.await_failed_attempt(snapshot_id, attempt)
                world.clock.advance(minutes=2)

            assert world.await_settled(snapshot_id)["status"] == "error"
        assert world.client.operation(snapshot_id)["reason_code"] == "backend_unavailable"
        world.fail_at({})
        assert world.manage_snapshot(volume, OTHERS[0])
        released.set()


def test_operations_wait_for_a_thread_and_are_carried_out_when_there_is_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        refused = refuse_threads(patch, "driver ")
        answer = world.client.manage_volume(VOLUME)
        until(lambda: refused, "a thread to be refused")

    volume_id = answer.json()["volume"]["id"]
    until(lambda: world.client.volume(volume_id)["status"] == "available", "the volume to be available")


def test_hung_listing_delays_no_listing_of_another_backend(tmp_path: Path) -> None:
    backends = {"storage-1@fast": FakeDriver(), "storage-1@slow": FakeDriver()}
    calls = [envelope.request(LISTING, {}, {}, each, version="1.0", _msg_id=each, _reply_q=each) for each in "abcdefgh"]
    with running_world(tmp_path, backends) as world, world.hang_at("list", of="storage-1@slow") as stuck:
        publish(world, *calls, queue=NAMES.server_queue("storage-1@slow"))
        stuck.reached()

        assert len(world.client.manageable("storage-1@fast")) == 3


def test_listing_without_a_queue_for_its_answer_is_quarantined_and_does_not_scan(world: World) -> None:
    """The thread that accepts requests would scan: a scan of more than 20 s would stop the queue for ever."""
    steps = list[str]()
    world.driver.hook = steps.append

    publish(world, request(LISTING), request(LISTING, "3.10"))

    assert {kept.reason for kept in quarantined(world)} == {
        f"{LISTING} must be a call, with `_msg_id` and `_reply_q`, since a cast has no answer"
    }
    assert "list" not in steps


def test_calls_to_a_hung_backend_are_refused_at_once_when_sixteen_wait(tmp_path: Path) -> None:
    calls = [envelope.request(LISTING, {}, {}, each, version="1.0", _msg_id=each, _reply_q=each) for each in CALLS]
    with running_world(tmp_path) as world, world.hang_at("list") as stuck:
        publish(world, *calls, queue=NAMES.server_queue(SERVER))
        stuck.reached()

        with pytest.raises(errors.Unavailable, match=rf"calls that wait for {SERVER} is reached \(16\)"):
            world.bus.call(SERVER, LISTING, {}, {})

        assert world.client.get("/healthcheck").status_code == 200
