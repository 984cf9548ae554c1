"""A server serves each of its backends as soon as the backend answers."""

import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from snapmanage import pulse
from snapmanage.core.readiness import failed
from snapmanage.core.services import Service
from snapmanage.drivers.fake import FakeDriver
from snapmanage.store import services
from snapmanage.testing.waiting import until
from tests.functional.client import SERVER
from tests.functional.volume.helpers import count_threads, count_workers, refuse_threads
from tests.functional.world import World, running_world


def test_backend_is_served_once_it_answers(tmp_path: Path) -> None:
    driver = FakeDriver()
    driver.go_away()
    with running_world(tmp_path, {SERVER: driver}, heartbeat_seconds=0.02) as world:
        assert world.client.get(f"os-snapshot-manage?host={SERVER}").status_code == 404

        world.fail_at({})

        until(lambda: world.client.get(f"os-snapshot-manage?host={SERVER}").status_code == 200, "the backend")


def test_hung_backend_stops_no_heartbeat_of_other_backends(tmp_path: Path) -> None:
    slow = FakeDriver()
    slow.go_away()
    backends = {"storage-1@fast": FakeDriver(), "storage-1@slow": slow}
    with (
        running_world(tmp_path, backends, heartbeat_seconds=0.02) as world,
        world.hang_at("check", "storage-1@slow") as stuck,
    ):
        stuck.reached()
        before = heartbeat(world, "storage-1@fast")

        until(lambda: heartbeat(world, "storage-1@fast") > before, "another heartbeat")


def test_heartbeats_continue_while_the_system_has_no_thread_to_open_a_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = FakeDriver()
    slow.go_away()
    backends = {"storage-1@fast": FakeDriver(), "storage-1@slow": slow}
    with running_world(tmp_path, backends, heartbeat_seconds=0.02) as world:
        with monkeypatch.context() as patch:
            refused = refuse_threads(patch, "opening ")
            until(lambda: len(refused) > 1, "a thread to be refused again")
            before = heartbeat(world, "storage-1@fast")
            until(lambda: heartbeat(world, "storage-1@fast") > before, "another heartbeat")

        slow.hook = lambda step: None

        until(lambda: world.bus.has_consumer("storage-1@slow"), "it to be served")


def test_backend_whose_consumer_failed_to_start_is_served_at_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = FakeDriver()
    slow.go_away()
    with running_world(tmp_path, {SERVER: slow}, heartbeat_seconds=0.02) as world:
        consume, failures = world.bus.consume, [RuntimeError("can't start new thread")]

        def fail_at_first(*arguments: Any) -> Any:
            if failures:
                raise failures.pop()
            return consume(*arguments)

        monkeypatch.setattr(world.bus, "consume", fail_at_first)
        slow.hook = lambda step: None

        until(lambda: world.bus.has_consumer(SERVER), "it to be served")


def test_backend_that_answers_after_the_drain_began_is_not_served(tmp_path: Path) -> None:
    driver = FakeDriver()
    driver.go_away()
    with running_world(tmp_path, {SERVER: driver}, heartbeat_seconds=0.02) as world:
        with world.hang_at("check") as late:
            late.reached()
            world.server.drain(timeout_seconds=20)

        until(lambda: count_threads(f"opening {SERVER}") == 0, "the backend to have answered")

        assert not world.bus.has_consumer(SERVER)
        assert count_workers() == 0


def test_process_that_serves_another_storage_under_the_same_name_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two hosts with one name would each end requests for the storage of the other, without a trace."""
    with running_world(tmp_path, {SERVER: FakeDriver()}, heartbeat_seconds=0.02) as world:
        for _ in range(3):
            world.db.write(lambda conn, now: services.beat(conn, Service(SERVER, "fake", now, storage="other")))
            until(lambda: storage(world) != "other", "a heartbeat of its own")

    assert caplog.text.count("Another process serves another storage under the same name") == 1
    assert "other_storage=other" in caplog.text


def test_heartbeats_of_one_storage_are_not_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running_world(tmp_path, {SERVER: FakeDriver()}, heartbeat_seconds=0.02) as world:
        before = heartbeat(world, SERVER)
        until(lambda: heartbeat(world, SERVER) > before, "another heartbeat")

    assert "Another process" not in caplog.text


def storage(world: World) -> str | None:
    with world.db.read() as conn:
        known = services.get(conn, SERVER)
    return known.storage if known else None


def heartbeat(world: World, server: str) -> datetime:
    with world.db.read() as conn:
        known = services.get(conn, server)
    assert known is not None
    return known.heartbeat_at


def test_backend_that_does_not_answer_is_not_ready_until_it_does(tmp_path: Path) -> None:
    driver = FakeDriver()
    driver.go_away()
    with running_world(tmp_path, {SERVER: driver}, heartbeat_seconds=0.02) as world:
        assert [check.name for check in failed(world.server.readiness())] == [f"backend/{SERVER}"]
        assert list(world.server.unserved) == [SERVER]

        world.fail_at({})

        until(lambda: failed(world.server.readiness()) == [], "every check to pass")
        assert world.server.unserved == {}
        assert pulse.problems(world.server.pulses(), 20) == []


def test_heartbeat_that_was_not_written_lately_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_world(tmp_path, {SERVER: FakeDriver()}, heartbeat_seconds=1000) as world:
        assert failed(world.server.readiness()) == []
        late = time.monotonic() + world.app.rules.service_down.total_seconds() + 1

        monkeypatch.setattr(time, "monotonic", lambda: late)

        assert [check.name for check in failed(world.server.readiness())] == ["heartbeat"]
