"""A server at work: slow calls, failures, draining, invalid messages, and requests of other senders."""

import json
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from snapmanage import errors
from snapmanage.bus import Consumer, Delivery, Handle, Probe, Publication, envelope
from snapmanage.bus.inprocess import InProcessConsumer
from snapmanage.core import outbox
from snapmanage.core.lists.paging import ListQuery
from snapmanage.core.records import Operation, Snapshot, Status, Volume
from snapmanage.core.reference import Reference
from snapmanage.drivers.fake import FakeDriver
from snapmanage.drivers.file import FileDriver
from snapmanage.drivers.protocol import Driver
from snapmanage.manage import acceptance, claims, settling
from snapmanage.manage.acceptance import Accepted, OperationRequest
from snapmanage.manage.claims import Claimed, WorkerId
from snapmanage.store import records, services
from snapmanage.store.mapping import tables
from snapmanage.testing.waiting import until
from snapmanage.volume.limits import BackendLimits
from snapmanage.volume.server import VolumeServer
from snapmanage.volume.worker import Worker
from tests.functional.client import SERVER
from tests.functional.parts import NAMES
from tests.functional.world import OTHER_PROJECT, PACE, RULES, VOLUME, World, a_world

SNAPSHOT = "volume-1-snapshot-1"
LISTING = "get_manageable_snapshots"
OTHERS = ("volume-1-snapshot-2", "volume-1-snapshot-3")
MESSAGES = Path(__file__).parents[2] / "data" / "messages"
# The objects of the recorded messages.
SAMPLE = "d6d925e0-eec3-4905-993c-4bba6f7f57c0"
SAMPLE_VOLUME = "volume-916bf7fc-22b0-4089-9528-bec5083ba14e"
SAMPLE_NAME = "backend-snap-0000001"


class CountingDriver(FakeDriver):
    """A driver that records its renames."""

    def __init__(self) -> None:
        super().__init__()
        self.renames: list[tuple[str, str]] = []

    def rename(self, old: str, new: str) -> None:
        super().rename(old, new)
        self.renames.append((old, new))


@contextmanager
def another_server(world: World, driver: Driver | None = None) -> Iterator[VolumeServer]:
    server = world.another_server(driver)
    try:
        yield server
    finally:
        server.drain(timeout_seconds=10)


def sample(name: str) -> bytes:
    """Return the body of a recorded message."""
    return json.dumps(json.loads((MESSAGES / f"{name}.json").read_text())["body"]).encode()


def request(method: str, version: str = "1.0", **arguments: Any) -> bytes:
    return envelope.request(method, arguments, {}, uuid.uuid4().hex, version=version)


def publish(world: World, *bodies: bytes, queue: str | None = None) -> None:
    """Put messages on the server's queue as one batch, and wait until they are acknowledged."""
    sent = [Publication(str(uuid.uuid4()), queue or NAMES.server_queue(SERVER), body, True) for body in bodies]
    assert world.bus.send(sent) == {publication.message_id for publication in sent}


def quarantined(world: World) -> list[Any]:
    with world.db.read() as conn:
        return list(conn.execute(select(tables.quarantine)))


def threads(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def workers() -> int:
    return threads(f"worker {SERVER}")


def names(world: World) -> set[str]:
    return {seen.name for seen in world.driver.list_snapshots()}


# Slow calls.


def test_slow_call_delays_no_other_operation(world: World) -> None:
    volume = world.known_volume()
    with world.stuck("find") as slow:
        waiting = world.asked(volume, SNAPSHOT)
        slow.reached()

        done = [world.managed(volume, name) for name in OTHERS]

        assert world.client.snapshot(waiting)["status"] == "creating"
        slow.release()
        assert {world.settled(snapshot_id)["status"] for snapshot_id in [waiting, *done]} == {"available"}


def test_slow_backend_delays_no_other_backend(tmp_path: Path) -> None:
    fast, slow = FakeDriver(), FakeDriver()
    with a_world(tmp_path, {"storage-1@fast": fast, "storage-1@slow": slow}) as world:
        quick = world.known_volume(host="storage-1@fast")
        lame = world.known_volume(host="storage-1@slow")
        with world.stuck("find", of="storage-1@slow") as stuck:
            waiting = world.asked(lame, SNAPSHOT)
            stuck.reached()

            done = world.managed(quick, SNAPSHOT)

            assert world.client.snapshot(waiting)["status"] == "creating"
        assert world.settled(waiting)["status"] == "available"
        assert f"snapshot-{done}" in {seen.name for seen in fast.list_snapshots()}
        assert f"snapshot-{waiting}" in {seen.name for seen in slow.list_snapshots()}


def test_long_queue_of_one_project_delays_no_other_project(tmp_path: Path) -> None:
    backends = {SERVER: FakeDriver(fake_volumes=2, fake_snapshots=40)}
    with a_world(tmp_path, backends, backend_limits=BackendLimits(driver_calls=1, scan_interval_seconds=0.02)) as world:
        volume, other = world.known_volume(), world.another_client(OTHER_PROJECT)
        other_volume = other.manage_volume("volume-2").json()["volume"]["id"]
        until(lambda: other.volume(other_volume)["status"] == "available", "the other volume to be available")
        with world.stuck("find") as slow:
            queue = [world.asked(volume, f"volume-1-snapshot-{number}") for number in range(1, 41)]
            slow.reached()
            late = other.manage(other_volume, "volume-2-snapshot-1").json()["snapshot"]["id"]
        until(lambda: other.snapshot(late)["status"] == "available", "the late one to be available")
        for snapshot_id in queue:
            world.settled(snapshot_id)

        ended = [world.record(each).updated_at for each in (late, *queue)]

        assert sorted(ended, key=str).index(ended[0]) < len(queue) / 2
        other.close()


def test_one_reference_on_two_backends_is_two_objects(tmp_path: Path) -> None:
    backends = {"storage-1@a": FakeDriver(), "storage-1@b": FakeDriver()}
    with a_world(tmp_path, backends) as world:
        made = [world.managed(world.known_volume(host=server), SNAPSHOT) for server in backends]

        listed = {server: {entry["cinder_id"] for entry in world.client.manageable(server)} for server in backends}

        assert listed == {"storage-1@a": {made[0], None}, "storage-1@b": {made[1], None}}


@pytest.mark.parametrize("scan_interval_seconds", [0.02, 30.0])
def test_claim_is_renewed_while_a_call_takes_longer_than_the_lease(
    tmp_path: Path, scan_interval_seconds: float
) -> None:
    driver = CountingDriver()
    rules = replace(RULES, lease=timedelta(seconds=0.3))
    backend_limits = BackendLimits(scan_interval_seconds=scan_interval_seconds)
    with a_world(tmp_path, {SERVER: driver}, rules, backend_limits=backend_limits) as world:
        world.clock.stand_still()
        assert world.server._workers[SERVER]._renew_every < rules.lease.total_seconds() / 2
        volume = world.known_volume()
        with world.stuck("rename") as slow:
            snapshot_id = world.asked(volume, SNAPSHOT)
            slow.reached()
            first = world.record(snapshot_id)

            for _ in range(4):
                renewed_in(world, snapshot_id, rules.lease / 2)

            assert world.record(snapshot_id).claim_number == first.claim_number
        assert world.settled(snapshot_id)["status"] == "available"
        assert driver.renames == [(SNAPSHOT, f"snapshot-{snapshot_id}")]
        assert world.client.operation(snapshot_id)["attempt"] == 1


def renewed_in(world: World, snapshot_id: str, passed: timedelta) -> None:
    """Advance the clock, and wait until the claim is renewed."""
    before = world.record(snapshot_id).due_at
    world.clock.advance(seconds=passed.total_seconds())
    until(lambda: world.record(snapshot_id).due_at != before, "the claim to be renewed")


def test_busy_server_still_claims_operations_that_another_process_accepted(tmp_path: Path) -> None:
    backend_limits = replace(PACE, scan_interval_seconds=1.0)
    with ExitStack() as stack:
        world = stack.enter_context(a_world(tmp_path, {SERVER: FakeDriver()}, backend_limits=backend_limits))
        volume = world.known_volume()
        stuck = stack.enter_context(world.stuck("find"))
        snapshot_id = world.asked(volume, SNAPSHOT)
        stuck.reached()
        held = world.record(snapshot_id)
        with fed_without_a_pause(world, Claimed(replace(held, claim_number=held.claim_number - 1))):
            world.bus.away = True
            left = world.asked(volume, OTHERS[0])

            request = OperationRequest(Snapshot, left, Operation.MANAGE)
            acceptance.accept(world.app, [request], WorkerId(SERVER, "no worker"), room=0)

            assert world.settled(left)["status"] == "available"


@contextmanager
def fed_without_a_pause(world: World, stale: Claimed) -> Iterator[None]:
    """Hand a stale claim to the server's worker a hundred times a second."""
    over = threading.Event()

    def feed() -> None:
        while not over.wait(0.01):
            world.server._workers[SERVER].take_claimed([stale], set())

    feeding = threading.Thread(target=feed)
    feeding.start()
    try:
        yield
    finally:
        over.set()
        feeding.join()


def claimed_twice(world: World, volume: str, step: str) -> tuple[str, threading.Event, threading.Event]:
    """Return a snapshot that was claimed twice while the driver hung at a step, and an event to release each call."""
    calls, reached = [threading.Event(), threading.Event()], list[threading.Event]()

    def hook(at: str) -> None:
        if at == step and len(reached) < len(calls):
            reached.append(call := calls[len(reached)])
            call.wait(60)

    world.driver.hook = hook
    snapshot_id = world.asked(volume, SNAPSHOT)
    until(lambda: len(reached) == 1, "the first call to hang")

    def claimed_again() -> bool:
        record = world.record(snapshot_id)
        if record.attempt == 1 and record.due_at is not None and record.due_at > world.db.now():
            world.clock.advance(minutes=2)
        return record.attempt == 2

    until(claimed_again, "the first claim to run out")
    until(lambda: len(reached) == 2, "the second call to hang")
    return snapshot_id, calls[0], calls[1]


def test_late_answer_to_an_expired_claim_leaves_the_next_claim_alone(world: World) -> None:
    volume = world.known_volume()
    snapshot_id, late, later = claimed_twice(world, volume, "find")

    late.set()
    world.managed(volume, OTHERS[0])
    later.set()

    assert world.settled(snapshot_id)["status"] == "available"


def test_late_outcome_leaves_the_newer_claim_of_this_worker_held(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = replace(RULES, lease=timedelta(seconds=6))
    with a_world(tmp_path, {SERVER: FakeDriver()}, rules) as world:
        world.clock.stand_still()
        snapshot_id, late, later = claimed_twice(world, world.known_volume(), "rename")
        newer = world.record(snapshot_id)

        late.set()
        until(lambda: "Dropped late outcomes" in caplog.text, "the late outcome to be noticed")

        renewed_in(world, snapshot_id, rules.lease / 2)
        assert world.record(snapshot_id).claim_number == newer.claim_number
        later.set()
        assert world.settled(snapshot_id)["status"] == "available"


def test_claim_that_is_handed_over_late_does_not_replace_the_newer_claim(world: World) -> None:
    volume = world.known_volume()
    with world.stuck("find") as stuck:
        snapshot_id = world.asked(volume, SNAPSHOT)
        stuck.reached()
        held = world.record(snapshot_id)
        late = Claimed(replace(held, claim_number=held.claim_number - 1))

        world.server._workers[SERVER].take_claimed([late], set())

    assert world.settled(snapshot_id)["status"] == "available"


# Failures.


def test_transient_failure_is_retried_after_its_delay(world: World) -> None:
    volume = world.known_volume()
    world.driver.go_away()
    snapshot_id = world.asked(volume, SNAPSHOT)
    world.resting(snapshot_id, attempt=1)

    world.failing({})
    world.clock.advance(minutes=2)

    assert world.settled(snapshot_id)["status"] == "available"
    operation = world.client.operation(snapshot_id)
    assert (operation["attempt"], operation["reason"]) == (2, None)
    assert world.trail(snapshot_id, ".end") == ["snapshot.manage.start", "snapshot.manage.end"]


def test_failed_operation_is_not_retried_before_its_delay_is_over(world: World) -> None:
    volume = world.known_volume()
    world.driver.go_away()
    snapshot_id = world.asked(volume, SNAPSHOT)
    before = world.resting(snapshot_id, attempt=1)
    world.failing({})

    world.managed(volume, OTHERS[0])
    world.managed(volume, OTHERS[1])

    assert world.record(snapshot_id) == before


def test_hung_call_is_abandoned_and_its_operation_retried(tmp_path: Path) -> None:
    with a_world(tmp_path) as world:
        volume = world.known_volume()
        with world.stuck("rename") as stuck:
            snapshot_id = world.asked(volume, SNAPSHOT)
            stuck.reached()
            with impatient(world):
                assert "0.3 s" in (world.resting(snapshot_id, attempt=1).reason or "")
            world.clock.advance(minutes=2)

            assert world.settled(snapshot_id)["status"] == "available"

        assert world.client.operation(snapshot_id)["attempt"] == 2
        assert world.trail(snapshot_id, ".end") == ["snapshot.manage.start", "snapshot.manage.end"]


@contextmanager
def impatient(world: World) -> Iterator[None]:
    """Give the driver's calls a third of a second inside the block; on a busy machine a good call may take longer."""
    worker = world.server._workers[SERVER]
    patient = worker._limits
    worker._limits = replace(patient, driver_timeout_seconds=0.3)
    try:
        yield
    finally:
        worker._limits = patient


def test_operation_whose_calls_all_hang_ends_in_error_and_delays_no_other(tmp_path: Path) -> None:
    with a_world(tmp_path, {SERVER: FakeDriver()}, backend_limits=replace(PACE, driver_calls=1)) as world:
        volume, released = world.known_volume(), threading.Event()

        def hook(step: str) -> None:
            if step == "find":
                released.wait(60)

        world.driver.hook = hook
        with impatient(world):
            snapshot_id = world.asked(volume, SNAPSHOT)
            for attempt in range(1, RULES.retry.max_attempts):
                world.resting(snapshot_id, attempt)
                world.clock.advance(minutes=2)

            assert world.settled(snapshot_id)["status"] == "error"
        assert world.client.operation(snapshot_id)["reason_code"] == "backend_unavailable"
        world.failing({})
        assert world.managed(volume, OTHERS[0])
        released.set()


def test_operations_wait_for_a_thread_and_are_carried_out_when_there_is_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        refused = no_threads(patch, "driver ")
        answer = world.client.manage_volume(VOLUME)
        until(lambda: refused, "a thread to be refused")

    volume_id = answer.json()["volume"]["id"]
    until(lambda: world.client.volume(volume_id)["status"] == "available", "the volume to be available")


def no_threads(patch: pytest.MonkeyPatch, kind: str) -> list[str]:
    """Refuse to start threads with this name; return the list of the refused ones."""
    start, refused = threading.Thread.start, list[str]()

    def start_unless_refused(thread: threading.Thread) -> None:
        if thread.name.startswith(kind):
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    patch.setattr(threading.Thread, "start", start_unless_refused)
    return refused


def test_hung_listing_delays_no_listing_of_another_backend(tmp_path: Path) -> None:
    backends = {"storage-1@fast": FakeDriver(), "storage-1@slow": FakeDriver()}
    calls = [envelope.request(LISTING, {}, {}, each, version="1.0", _msg_id=each, _reply_q=each) for each in "abcdefgh"]
    with a_world(tmp_path, backends) as world, world.stuck("list", of="storage-1@slow") as stuck:
        publish(world, *calls, queue=NAMES.server_queue("storage-1@slow"))
        stuck.reached()

        assert len(world.client.manageable("storage-1@fast")) == 3


def test_lasting_failure_ends_in_error_after_the_last_attempt(world: World) -> None:
    volume = world.known_volume()
    world.driver.go_away()
    snapshot_id = world.asked(volume, SNAPSHOT)
    for attempt in range(1, RULES.retry.max_attempts):
        world.resting(snapshot_id, attempt)
        world.clock.advance(minutes=2)

    assert world.settled(snapshot_id)["status"] == "error"
    operation = world.client.operation(snapshot_id)
    assert (operation["attempt"], operation["reason_code"]) == (RULES.retry.max_attempts, "backend_unavailable")
    assert world.trail(snapshot_id, ".error") == ["snapshot.manage.start", "snapshot.manage.error"]


def test_rename_whose_answer_was_lost_is_recognised_at_the_next_attempt(tmp_path: Path) -> None:
    driver = CountingDriver()
    with a_world(tmp_path, {SERVER: driver}) as world:
        volume = world.known_volume()
        world.failing({"renamed": errors.BackendUnavailable("the answer was lost")})
        snapshot_id = world.asked(volume, SNAPSHOT)

        assert world.settled(snapshot_id)["status"] == "available"
        assert driver.renames == []
        assert f"snapshot-{snapshot_id}" in names(world)


@pytest.mark.parametrize("step", ["resolve", "settle"])
def test_outcome_is_written_once_the_database_is_back(world: World, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    volume, write = world.known_volume(), getattr(settling, step)
    failures = [OperationalError("UPDATE", None, ConnectionError("gone"))]

    def away_at_first(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return write(*arguments)

    monkeypatch.setattr(settling, step, away_at_first)

    assert world.settled(world.asked(volume, SNAPSHOT))["status"] == "available"
    assert failures == []


def test_unexpected_exception_of_a_driver_is_retried(world: World) -> None:
    volume = world.known_volume()
    world.failing({"find": ZeroDivisionError("details")})
    snapshot_id = world.asked(volume, SNAPSHOT)

    failed = world.resting(snapshot_id, attempt=1)

    assert failed.reason_code == "backend_error"
    assert "details" not in (failed.reason or "")
    world.failing({})
    world.clock.advance(minutes=2)
    assert world.settled(snapshot_id)["status"] == "available"


def test_driver_that_returns_none_delays_no_other_operation(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = world.known_volume()
    monkeypatch.setattr(world.driver, "manage_snapshot", lambda binding: None)
    snapshot_id = world.asked(volume, SNAPSHOT)
    world.resting(snapshot_id, attempt=1)
    monkeypatch.undo()

    assert world.managed(volume, OTHERS[0])
    world.clock.advance(minutes=1)
    assert world.settled(snapshot_id)["status"] == "available"


@pytest.mark.parametrize("step", ["find_snapshot", "manage_snapshot"])
@pytest.mark.parametrize("answer", [{"size_bytes": None}, {"identity": None}, {"name": None}], ids=str)
def test_driver_that_breaks_its_protocol_delays_no_other_operation(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str, answer: dict[str, Any]
) -> None:
    volume, honest = world.known_volume(), getattr(world.driver, step)
    monkeypatch.setattr(world.driver, step, lambda *arguments: replace(honest(*arguments), **answer))
    snapshot_id = world.asked(volume, SNAPSHOT)
    assert world.resting(snapshot_id, attempt=1).reason_code == "backend_error"
    monkeypatch.undo()

    assert world.managed(volume, OTHERS[0])
    world.clock.advance(minutes=1)
    assert world.settled(snapshot_id)["status"] == "available"


def test_volume_is_looked_up_again_after_a_failure(world: World) -> None:
    world.driver.go_away()
    volume = world.client.manage_volume(VOLUME).json()["volume"]["id"]

    def rests() -> bool:
        with world.db.read() as conn:
            [record] = records.get_many(conn, Volume, [volume])
        return record.attempt == 1 and record.claimed_by is None

    until(rests, "the first attempt to fail")
    world.failing({})
    world.clock.advance(minutes=2)
    until(lambda: world.client.volume(volume)["status"] == "available", "the volume to be available")


def test_backend_is_served_once_it_answers(tmp_path: Path) -> None:
    driver = FakeDriver()
    driver.go_away()
    with a_world(tmp_path, {SERVER: driver}, heartbeat_seconds=0.02) as world:
        assert world.client.get(f"os-snapshot-manage?host={SERVER}").status_code == 404

        world.failing({})

        until(lambda: world.client.get(f"os-snapshot-manage?host={SERVER}").status_code == 200, "the backend")


def test_hung_backend_stops_no_heartbeat_of_other_backends(tmp_path: Path) -> None:
    slow = FakeDriver()
    slow.go_away()
    backends = {"storage-1@fast": FakeDriver(), "storage-1@slow": slow}
    with a_world(tmp_path, backends, heartbeat_seconds=0.02) as world, world.stuck("check", "storage-1@slow") as stuck:
        stuck.reached()
        before = heartbeat(world, "storage-1@fast")

        until(lambda: heartbeat(world, "storage-1@fast") > before, "another heartbeat")


def test_heartbeats_continue_while_the_system_has_no_thread_to_open_a_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = FakeDriver()
    slow.go_away()
    backends = {"storage-1@fast": FakeDriver(), "storage-1@slow": slow}
    with a_world(tmp_path, backends, heartbeat_seconds=0.02) as world:
        with monkeypatch.context() as patch:
            refused = no_threads(patch, "opening ")
            until(lambda: len(refused) > 1, "a thread to be refused again")
            before = heartbeat(world, "storage-1@fast")
            until(lambda: heartbeat(world, "storage-1@fast") > before, "another heartbeat")

        slow.hook = lambda step: None

        until(lambda: world.bus.listens("storage-1@slow"), "it to be served")


def test_backend_whose_consumer_failed_to_start_is_served_at_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = FakeDriver()
    slow.go_away()
    with a_world(tmp_path, {SERVER: slow}, heartbeat_seconds=0.02) as world:
        consume, failures = world.bus.consume, [RuntimeError("can't start new thread")]

        def fail_at_first(*arguments: Any) -> Any:
            if failures:
                raise failures.pop()
            return consume(*arguments)

        monkeypatch.setattr(world.bus, "consume", fail_at_first)
        slow.hook = lambda step: None

        until(lambda: world.bus.listens(SERVER), "it to be served")


def test_backend_that_answers_after_the_drain_began_is_not_served(tmp_path: Path) -> None:
    driver = FakeDriver()
    driver.go_away()
    with a_world(tmp_path, {SERVER: driver}, heartbeat_seconds=0.02) as world:
        with world.stuck("check") as late:
            late.reached()
            world.server.drain(timeout_seconds=20)

        until(lambda: threads(f"opening {SERVER}") == 0, "the backend to have answered")

        assert not world.bus.listens(SERVER)
        assert workers() == 0


def heartbeat(world: World, server: str) -> datetime:
    with world.db.read() as conn:
        known = services.get(conn, server)
    assert known is not None
    return known.heartbeat_at


# Draining.


def test_drain_settles_held_operations_and_claims_no_more(world: World) -> None:
    volume = world.known_volume()
    with world.stuck("rename") as slow:
        held = world.asked(volume, SNAPSHOT)
        slow.reached()
        drained: list[bool] = []
        draining = threading.Thread(target=lambda: drained.append(world.server.drain(timeout_seconds=20)))
        draining.start()
        until(lambda: not world.bus.listens(SERVER), "the server to take nothing more")
        later = world.asked(volume, OTHERS[0])

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
    volume = world.known_volume()
    world.bus.away = True
    snapshot_id = world.asked(volume, SNAPSHOT)
    worker = Worker(world.app, SERVER, world.driver, "another", PACE)
    accept_for(world, worker, snapshot_id)

    worker.drain()
    worker.start()

    assert worker.finish(time.monotonic() + 20)
    assert world.client.snapshot(snapshot_id)["status"] == "available"


def test_next_server_carries_out_requests_that_arrive_after_a_drain(world: World) -> None:
    volume = world.known_volume()
    world.server.drain(timeout_seconds=20)
    snapshot_id = world.asked(volume, SNAPSHOT)

    with another_server(world):
        assert world.settled(snapshot_id)["status"] == "available"


def asked_long_ago(world: World, volume: str) -> str:
    """Request a snapshot whose cast was sent six times without success, so that the next attempt is far away."""
    snapshot_id = world.asked(volume, SNAPSHOT)
    for sends in range(1, 6):
        world.put_off(snapshot_id, sends)
        world.clock.advance(minutes=2)
    world.put_off(snapshot_id, 6)
    return snapshot_id


def test_old_request_is_due_at_once_when_its_server_is_back(world: World) -> None:
    volume = world.known_volume()
    world.server.drain(timeout_seconds=20)
    snapshot_id = asked_long_ago(world, volume)

    with another_server(world):
        assert world.settled(snapshot_id)["status"] == "available"


def test_cast_that_was_returned_while_its_server_started_is_due_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, consume = world.known_volume(), world.bus.consume
    world.server.drain(timeout_seconds=20)
    snapshot_id = asked_long_ago(world, volume)

    def too_late(queues: Sequence[str], handle: Handle, probe: Probe) -> Consumer:
        world.put_off(snapshot_id, 2)  # counted anew since the server started
        return consume(queues, handle, probe)

    monkeypatch.setattr(world.bus, "consume", too_late)

    with another_server(world):
        assert world.settled(snapshot_id)["status"] == "available"


def test_drain_settles_or_releases_the_batch_that_a_consumer_handles(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, claimed, released = world.known_volume(), threading.Event(), threading.Event()
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
    snapshot_id = world.asked(volume, SNAPSHOT)
    assert claimed.wait(20)

    world.server.drain(timeout_seconds=20)

    assert world.record(snapshot_id).claimed_by is None
    released.set()


def test_operation_of_a_stuck_call_is_released_and_carried_out_by_another_server(tmp_path: Path) -> None:
    driver = CountingDriver()
    with a_world(tmp_path, {SERVER: driver}) as world:
        volume = world.known_volume()
        with world.stuck("rename") as stuck:
            snapshot_id = world.asked(volume, SNAPSHOT)
            stuck.reached()

            finished = world.server.drain(timeout_seconds=0)

            assert finished is False
            released = world.record(snapshot_id)
            assert (released.claimed_by, released.attempt) == (None, 0)
            with another_server(world):
                assert world.settled(snapshot_id)["status"] == "available"
                settled = world.record(snapshot_id)

                stuck.release()
                until(lambda: workers() == 1, "the late worker to leave")

                assert world.record(snapshot_id) == settled
                assert driver.renames == [(SNAPSHOT, f"snapshot-{snapshot_id}")]
                assert world.trail(snapshot_id, ".end") == ["snapshot.manage.start", "snapshot.manage.end"]


def test_drain_ends_without_an_error_if_the_database_fails_at_the_release(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise OperationalError("UPDATE", {}, Exception("the server has gone away"))

    volume = world.known_volume()
    monkeypatch.setattr(claims, "release", fail)
    with world.stuck("rename") as stuck:
        world.asked(volume, SNAPSHOT)
        stuck.reached()

        assert world.server.drain(timeout_seconds=0) is False

    assert "Claims were not released; their leases expire instead" in caplog.text


def test_claimed_operation_that_has_not_begun_is_released_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    volume, settle, writing, back = world.known_volume(), settling.settle, threading.Event(), threading.Event()

    def slowly(*arguments: Any) -> Any:
        writing.set()
        back.wait(60)
        return settle(*arguments)

    monkeypatch.setattr(settling, "settle", slowly)
    begun = world.asked(volume, SNAPSHOT)
    assert writing.wait(20)
    world.bus.away = True
    claimed = world.asked(volume, OTHERS[0])
    # In this thread: the test sees the claim of a delivered request before the worker has received it.
    world.bus.deliver(SERVER, Delivery("queue", request("manage_snapshot", snapshot_id=claimed)))
    assert world.record(claimed).claimed_by
    world.bus.away = False

    world.server.drain(timeout_seconds=0)

    assert [world.record(each).claimed_by for each in (begun, claimed)] == [None, None]
    back.set()
    with another_server(world):
        assert [world.settled(each)["status"] for each in (begun, claimed)] == ["available"] * 2


def test_operation_that_is_claimed_again_while_its_worker_shuts_down_is_released_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, claim, found_room, drained = world.known_volume(), claims.claim, threading.Event(), threading.Event()

    def claim_late(*arguments: Any) -> list[Claimed]:
        found_room.set()
        drained.wait(60)
        return claim(*arguments)

    with world.stuck("rename") as stuck:
        snapshot_id = world.asked(volume, SNAPSHOT)
        stuck.reached()
        monkeypatch.setattr(claims, "claim", claim_late)
        assert found_room.wait(20)

        world.server.drain(timeout_seconds=0)
        assert world.record(snapshot_id).claimed_by is None
        drained.set()

        stuck.release()
        until(lambda: workers() == 0, "the late worker to leave")
        assert world.record(snapshot_id).claimed_by is None
        with another_server(world):
            assert world.settled(snapshot_id)["status"] == "available"


def test_operation_that_is_accepted_for_a_finished_worker_is_released(world: World) -> None:
    volume = world.known_volume()
    world.bus.away = True
    snapshot_id = world.asked(volume, SNAPSHOT)
    worker = Worker(world.app, SERVER, world.driver, "another", PACE)
    worker.start()
    worker.drain()
    worker.finish(time.monotonic() + 20)

    accept_for(world, worker, snapshot_id)

    assert world.record(snapshot_id).claimed_by is None
    assert world.settled(snapshot_id)["status"] == "available"


def test_second_delivery_of_a_request_is_carried_out_once(tmp_path: Path) -> None:
    driver = CountingDriver()
    with a_world(tmp_path, {SERVER: driver}) as world:
        volume = world.known_volume()
        snapshot_id = world.managed(volume, SNAPSHOT)

        publish(world, *[request("manage_snapshot", snapshot_id=snapshot_id)] * 3)

        world.managed(volume, OTHERS[0])
        assert world.record(snapshot_id).claim_number == 1
        assert len(driver.renames) == 2


def test_late_repeat_of_a_manage_does_not_hide_an_unmanage_beside_it(world: World) -> None:
    snapshot_id = world.managed(world.known_volume(), SNAPSHOT)
    world.bus.away = True
    world.client.unmanage(snapshot_id)
    world.bus.away = False

    publish(
        world,
        request("unmanage_snapshot", snapshot_id=snapshot_id),
        request("manage_snapshot", snapshot_id=snapshot_id),
    )

    world.given_back(snapshot_id)


# Invalid messages.


BAD = {
    "no envelope": b"\x00garbage",
    "no object": json.dumps({"oslo.version": "2.0", "oslo.message": "[]"}).encode(),
    "another envelope": json.dumps({"oslo.version": "9.0", "oslo.message": "{}"}).encode(),
    "unknown method": request("destroy_everything"),
    "a private method": request("__init__"),
    "a missing argument": request("manage_snapshot"),
    "a surplus argument": request("manage_snapshot", snapshot_id=str(uuid.UUID(int=5)), force=True),
    "no uuid": request("manage_snapshot", snapshot_id="daily"),
    "no object at all": request("manage_existing_snapshot", "3.0", snapshot=5, ref="x"),
    "an object of another kind": sample("cast_manage_existing_snapshot").replace(b'\\"Snapshot\\"', b'\\"Backup\\"'),
    "half a version": request("manage_snapshot", "1", snapshot_id=str(uuid.UUID(int=5))),
    "a newer major version": request("manage_snapshot", "2.0", snapshot_id=str(uuid.UUID(int=5))),
    "half a surrogate in an argument's name": request("manage_snapshot", **{"\ud800": "1"}),
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_invalid_message_is_quarantined_and_the_others_are_carried_out(world: World, body: bytes) -> None:
    volume = world.known_volume()
    world.bus.away = True
    first, second = world.asked(volume, SNAPSHOT), world.asked(volume, OTHERS[0])
    world.bus.away = False

    publish(world, request("manage_snapshot", snapshot_id=first), body, request("manage_snapshot", snapshot_id=second))

    assert world.settled(first)["status"] == world.settled(second)["status"] == "available"
    [kept] = quarantined(world)
    assert kept.body == body
    assert kept.reason


def test_headers_of_a_quarantined_message_are_kept_with_values_of_any_type(world: World) -> None:
    headers: dict[Any, Any] = {
        "x-death": [{"time": datetime(2026, 1, 1, tzinfo=UTC), "reason": "expired"}],
        "raw": b"\xff",
        b"\xff": "name",
    }

    world.bus.deliver(SERVER, Delivery("some-queue", b"garbage", headers))

    [kept] = quarantined(world)
    assert kept.headers["x-death"] == [{"time": "2026-01-01 00:00:00+00:00", "reason": "expired"}]


def whole_request(**arguments: Any) -> bytes:
    """Return the cast of an upstream API that keeps its own records."""
    known = {
        "snapshot_id": str(uuid.UUID(int=5)),
        "volume_id": str(uuid.UUID(int=6)),
        "ref": {"source-name": SNAPSHOT},
        "project_id": "p" * 32,
    }
    return request("manage_snapshot", **known | arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "x" * 256},
        {"name": 5},
        {"name": "a\0b"},
        {"name": "\ud800"},
        {"description": "\udfff"},
        {"project_id": 5},
        {"project_id": "\0"},
        {"project_id": "p" * 256},
        {"user_id": 5},
        {"user_id": "\ud800"},
        {"metadata": {"a": 1}},
        {"metadata": "text"},
        {"ref": {}},
        {"ref": {"a": float("nan")}},
        {"ref": json.loads('{"a":' * 40 + "1" + "}" * 40)},
        {"ref": json.loads('{"a":' + "[" * 400 + "]" * 400 + "}")},
        {"volume_id": "disk"},
    ],
)
def test_request_that_can_not_be_written_ends_with_an_error_event(world: World, arguments: dict[str, Any]) -> None:
    publish(world, whole_request(**arguments))

    snapshot_id = str(uuid.UUID(int=5))
    assert world.trail(snapshot_id, ".error") == ["snapshot.manage.error"]
    assert len(quarantined(world)) == 1
    assert world.client.get(f"snapshots/{snapshot_id}").status_code == 404


@pytest.mark.parametrize(
    ("method", "event"),
    [("manage_snapshot", "snapshot.manage.error"), ("unmanage_snapshot", "snapshot.unmanage.error")],
)
def test_unknown_snapshot_that_is_not_described_ends_with_an_error_event(world: World, method: str, event: str) -> None:
    snapshot_id = str(uuid.uuid4())

    publish(world, request(method, snapshot_id=snapshot_id))

    assert world.trail(snapshot_id, ".error") == [event]
    assert len(quarantined(world)) == 1


def test_two_different_casts_for_one_unknown_snapshot_in_one_batch_are_both_quarantined(world: World) -> None:
    snapshot_id = str(uuid.uuid4())
    bodies = [request(method, snapshot_id=snapshot_id) for method in ("manage_snapshot", "unmanage_snapshot")]

    publish(world, *bodies)

    assert {kept.body for kept in quarantined(world)} == set(bodies)
    world.carried()
    assert set(world.trail(snapshot_id)) == {"snapshot.manage.error", "snapshot.unmanage.error"}


def test_invalid_call_is_answered_with_the_error(world: World) -> None:
    with pytest.raises(errors.InvalidRequest, match="can't be understood"):
        world.bus.call(SERVER, "get_manageable_snapshots", {"colour": "green"}, {})


# Requests of other senders.


def test_request_of_an_upstream_with_its_own_records_is_carried_out(world: World) -> None:
    snapshot_id = str(uuid.UUID(int=5))

    publish(world, whole_request(name="daily", description="d", metadata={"a": "b"}, user_id="u"))

    assert world.trail(snapshot_id, ".end") == ["snapshot.manage.start", "snapshot.manage.end"]
    record = world.record(snapshot_id)
    assert (record.status, record.name, record.description) == (Status.AVAILABLE, "daily", "d")
    assert (record.requester.project_id, record.requester.user_id) == ("p" * 32, "u")
    assert f"snapshot-{snapshot_id}" in names(world)


def test_upstream_can_unmanage_its_snapshot(world: World) -> None:
    snapshot_id = str(uuid.UUID(int=5))
    publish(world, whole_request())
    world.trail(snapshot_id, "manage.end")

    publish(world, request("unmanage_snapshot", snapshot_id=snapshot_id))

    assert world.trail(snapshot_id, "unmanage.end")[2:] == ["snapshot.unmanage.start", "snapshot.unmanage.end"]
    assert SNAPSHOT in names(world)


def test_upstream_that_unmanages_its_snapshot_too_early_gets_an_error_event(world: World) -> None:
    snapshot_id = str(uuid.UUID(int=5))
    with world.stuck("rename") as stuck:
        publish(world, whole_request())
        stuck.reached()

        publish(world, request("unmanage_snapshot", snapshot_id=snapshot_id))

        assert world.trail(snapshot_id, "unmanage.error")
    assert world.trail(snapshot_id, "manage.end")
    [kept] = quarantined(world)
    assert "it can be unmanaged when" in kept.reason


def test_upstream_that_requests_one_object_twice_owns_it_once(world: World) -> None:
    first, second = str(uuid.UUID(int=5)), str(uuid.UUID(int=7))
    publish(world, whole_request(snapshot_id=first))
    world.trail(first, ".end")

    publish(world, whole_request(snapshot_id=second, ref={"source-name": f"snapshot-{first}"}))

    assert world.trail(second, ".error") == ["snapshot.manage.start", "snapshot.manage.error"]
    assert world.record(second).reason_code == "already_managed"


@pytest.mark.parametrize("operation", Operation)
def test_cast_to_the_wrong_server_is_carried_out_by_the_server_of_the_record(
    tmp_path: Path, operation: Operation
) -> None:
    owner, other = FakeDriver(), FakeDriver()
    with a_world(tmp_path, {"storage-1@owner": owner, "storage-1@other": other}) as world:
        volume, untouched = world.known_volume(host="storage-1@owner"), other.list_snapshots()
        if operation is Operation.UNMANAGE:
            snapshot_id = world.managed(volume, SNAPSHOT)
        else:
            world.bus.away = True
            snapshot_id = world.asked(volume, SNAPSHOT)
            world.bus.away = False

        cast = request(f"{operation.value}_snapshot", snapshot_id=snapshot_id)
        world.bus.deliver("storage-1@other", Delivery(NAMES.volume_topic, cast))

        if operation is Operation.MANAGE:
            assert world.settled(snapshot_id)["status"] == "available"
        else:
            world.given_back(snapshot_id)
        renamed = f"snapshot-{snapshot_id}" in {each.name for each in owner.list_snapshots()}
        assert renamed == (operation is Operation.MANAGE)
        assert other.list_snapshots() == untouched


@pytest.mark.parametrize("queue", NAMES.server_queues(SERVER))
def test_every_queue_of_a_server_is_served(world: World, queue: str) -> None:
    publish(world, whole_request(), queue=queue)

    assert "snapshot.manage.end" in world.trail(str(uuid.UUID(int=5)), ".end")


@pytest.fixture
def upstream_world(tmp_path: Path) -> Iterator[World]:
    """Yield a world with the backend of Cinder's messages, whose events are sent in both dialects."""
    driver = FakeDriver(fake_volumes=0)
    driver.add_volume(SAMPLE_VOLUME)
    driver.add_snapshot(SAMPLE_VOLUME, SAMPLE_NAME)
    with a_world(tmp_path, {SERVER: driver}, replace(RULES, both_dialects=True)) as world:
        yield world


def test_cinder_s_casts_are_carried_out(upstream_world: World) -> None:
    world = upstream_world
    publish(world, sample("cast_manage_existing_snapshot"))
    assert world.trail(SAMPLE, "manage.end") == ["snapshot.manage.start", "snapshot.manage.end"]
    managed = world.record(SAMPLE)
    assert names(world) == {f"snapshot-{SAMPLE}"}

    publish(world, sample("cast_delete_snapshot_unmanage_only"))

    assert world.trail(SAMPLE, "unmanage.end")[2:] == ["snapshot.unmanage.start", "snapshot.unmanage.end"]
    assert names(world) == {SAMPLE_NAME}
    assert (managed.name, managed.description, managed.metadata) == ("s1", "d1", {"k": "v"})
    assert (managed.requester.project_id, managed.requester.user_id) == ("a" * 32, "b" * 32)
    assert managed.requester.request_id == "req-0ff386a5-a97a-4a66-adcd-f3803f169683"
    assert world.record(SAMPLE).requester.request_id == "req-e8076d53-d4c8-439f-a207-4395493a272e"


def test_cinder_s_cast_with_a_bad_reference_ends_in_error(upstream_world: World) -> None:
    publish(upstream_world, sample("cast_manage_existing_snapshot_bad_ref"))

    assert upstream_world.trail("c31a235d-8a5b-4460-bd3c-8e40d8254986", ".error") == [
        "snapshot.manage.start",
        "snapshot.manage.error",
    ]


def test_events_are_sent_under_cinder_s_names_too_if_both_dialects_are_configured(upstream_world: World) -> None:
    events = upstream_world.overheard()

    publish(upstream_world, sample("cast_manage_existing_snapshot"))
    upstream_world.trail(SAMPLE, "manage.end")
    publish(upstream_world, sample("cast_delete_snapshot_unmanage_only"))
    upstream_world.trail(SAMPLE, "unmanage.end")

    upstream_world.carried()
    for kind in outbox.CINDER_EVENT_TYPES.items():
        assert set(kind) <= set(events)


def test_nothing_is_ever_deleted_for_cinder(upstream_world: World) -> None:
    world = upstream_world
    publish(world, sample("cast_manage_existing_snapshot"))
    world.trail(SAMPLE, "manage.end")
    destructive = sample("cast_delete_snapshot_unmanage_only").replace(
        b'\\"unmanage_only\\": true', b'\\"unmanage_only\\": false'
    )

    publish(world, destructive)

    assert "snapshot.unmanage.error" in world.trail(SAMPLE, "unmanage.error")
    assert world.record(SAMPLE).status is Status.AVAILABLE
    assert names(world) == {f"snapshot-{SAMPLE}"}


def test_listing_for_cinder_has_versioned_objects(upstream_world: World) -> None:
    called = json.loads(json.loads(sample("call_get_manageable_snapshots"))["oslo.message"])

    entries = upstream_world.bus.ask(SERVER, called["version"], called["method"], called["args"])

    expected = json.loads(json.loads(sample("reply_get_manageable_snapshots"))["oslo.message"])["result"]
    assert entries[0].keys() == expected[0].keys()
    assert entries[0]["versioned_object.name"] == expected[0]["versioned_object.name"]
    assert entries[0]["versioned_object.data"].keys() == expected[0]["versioned_object.data"].keys()


# A real backend.


def test_files_are_managed_and_unmanaged(tmp_path: Path) -> None:
    folder = tmp_path / "backend"
    folder.mkdir()
    for name in ("disk1.img", "disk1.img@daily"):
        (folder / name).write_text(name)
    with a_world(tmp_path, {SERVER: FileDriver(str(folder))}) as world:
        snapshot_id = world.managed(world.known_volume("disk1.img"), "disk1.img@daily")
        renamed = folder / f"disk1.img@snapshot-{snapshot_id}"
        assert renamed.read_text() == "disk1.img@daily"

        world.client.unmanage(snapshot_id)

        world.given_back(snapshot_id)
        assert {path.name for path in folder.iterdir()} == {"disk1.img", "disk1.img@daily"}


def test_empty_template_renames_nothing(tmp_path: Path) -> None:
    driver = CountingDriver()
    with a_world(tmp_path, {SERVER: driver}, replace(RULES, name_template="")) as world:
        snapshot_id = world.managed(world.known_volume(), SNAPSHOT)

        assert (driver.renames, world.client.operation(snapshot_id)["backend_name"]) == ([], SNAPSHOT)
        assert driver.find_snapshot(Reference.named(SNAPSHOT)).identity == world.record(snapshot_id).backend_id


def test_many_requests_at_the_same_time_all_succeed(tmp_path: Path) -> None:
    driver = FakeDriver(fake_snapshots=60)
    with a_world(
        tmp_path, {SERVER: driver}, backend_limits=BackendLimits(driver_calls=3, batch=7, scan_interval_seconds=0.02)
    ) as world:
        volume = world.known_volume()
        asked = [world.asked(volume, f"volume-1-snapshot-{number}") for number in range(1, 61)]

        def left() -> int:
            with world.db.read() as conn:
                return len(records.list_page(conn, Snapshot, ListQuery(world.client.project, {"status": "creating"})))

        until(lambda: left() == 0, "all to be settled")

        assert {world.client.snapshot(snapshot_id)["status"] for snapshot_id in asked} == {"available"}
        assert names(world) == {f"snapshot-{snapshot_id}" for snapshot_id in asked}
