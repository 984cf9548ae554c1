"""A worker renews its claims, and drops the outcome of a claim that it has lost."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from snapmanage.core.records import Operation, Snapshot
from snapmanage.drivers.fake import FakeDriver
from snapmanage.manage import acceptance
from snapmanage.manage.acceptance import OperationRequest
from snapmanage.manage.claims import Claimed, WorkerId
from snapmanage.testing.waiting import until
from snapmanage.volume.limits import BackendLimits
from tests.functional.client import SERVER
from tests.functional.volume.helpers import OTHERS, SNAPSHOT, CountingDriver, worker_of
from tests.functional.world import PACE, RULES, World, running_world


@pytest.mark.parametrize("scan_interval_seconds", [0.02, 30.0])
def test_claim_is_renewed_while_a_call_takes_longer_than_the_lease(
    tmp_path: Path, scan_interval_seconds: float
) -> None:
    driver = CountingDriver()
    rules = replace(RULES, lease=timedelta(seconds=0.3))
    backend_limits = BackendLimits(scan_interval_seconds=scan_interval_seconds)
    with running_world(tmp_path, {SERVER: driver}, rules, backend_limits=backend_limits) as world:
        world.clock.stand_still()
        assert worker_of(world).renew_every < rules.lease.total_seconds() / 2
        volume = world.register_volume()
        with world.hang_at("rename") as slow:
            snapshot_id = world.request_manage(volume, SNAPSHOT)
            slow.reached()
            first = world.record(snapshot_id)

            for _ in range(4):
                await_renewal(world, snapshot_id, rules.lease / 2)

            assert world.record(snapshot_id).claim_number == first.claim_number
        assert world.await_settled(snapshot_id)["status"] == "available"
        assert driver.renames == [(SNAPSHOT, f"snapshot-{snapshot_id}")]
        assert world.client.operation(snapshot_id)["attempt"] == 1


def await_renewal(world: World, snapshot_id: str, passed: timedelta) -> None:
    """Advance the clock, and wait until the claim is renewed."""
    before = world.record(snapshot_id).due_at
    world.clock.advance(seconds=passed.total_seconds())
    until(lambda: world.record(snapshot_id).due_at != before, "the claim to be renewed")


def test_busy_server_still_claims_operations_that_another_process_accepted(tmp_path: Path) -> None:
    backend_limits = replace(PACE, scan_interval_seconds=1.0)
    with ExitStack() as stack:
        world = stack.enter_context(running_world(tmp_path, {SERVER: FakeDriver()}, backend_limits=backend_limits))
        volume = world.register_volume()
        stuck = stack.enter_context(world.hang_at("find"))
        snapshot_id = world.request_manage(volume, SNAPSHOT)
        stuck.reached()
        held = world.record(snapshot_id)
        with feed_stale_claims(world, Claimed(replace(held, claim_number=held.claim_number - 1))):
            world.bus.away = True
            left = world.request_manage(volume, OTHERS[0])

            request = OperationRequest(Snapshot, left, Operation.MANAGE)
            acceptance.accept(world.app, [request], WorkerId(SERVER, "no worker"), room=0)

            assert world.await_settled(left)["status"] == "available"


@contextmanager
def feed_stale_claims(world: World, stale: Claimed) -> Iterator[None]:
    """Hand a stale claim to the server's worker a hundred times a second."""
    over = threading.Event()

    def feed() -> None:
        while not over.wait(0.01):
            worker_of(world).take_claimed([stale], set())

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
    snapshot_id = world.request_manage(volume, SNAPSHOT)
    until(lambda: len(reached) == 1, "the first call to hang")

    def claimed_again() -> bool:
        record = world.record(snapshot_id)
        if record.attempt == 1 and record.due_at is not None and record.due_at > world.db.now():
            world.clock.advance(minutes=2)
        return record.attempt == 2

    until(claimed_again, "the first claim to run out")
    until(lambda: len(reached) == 2, "the second call to hang")
    return snapshot_id, calls[0], calls[1]


def test_late_answer_to_an_expired_claim_does_not_change_the_next_claim(world: World) -> None:
    volume = world.register_volume()
    snapshot_id, late, later = claimed_twice(world, volume, "find")

    late.set()
    world.manage_snapshot(volume, OTHERS[0])
    later.set()

    assert world.await_settled(snapshot_id)["status"] == "available"


def test_late_outcome_does_not_release_the_newer_claim_of_its_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = replace(RULES, lease=timedelta(seconds=6))
    with running_world(tmp_path, {SERVER: FakeDriver()}, rules) as world:
        world.clock.stand_still()
        snapshot_id, late, later = claimed_twice(world, world.register_volume(), "rename")
        newer = world.record(snapshot_id)

        late.set()
        until(lambda: "Dropped late outcomes" in caplog.text, "the late outcome to be noticed")

        await_renewal(world, snapshot_id, rules.lease / 2)
        assert world.record(snapshot_id).claim_number == newer.claim_number
        later.set()
        assert world.await_settled(snapshot_id)["status"] == "available"


def test_claim_that_is_handed_over_late_does_not_replace_the_newer_claim(world: World) -> None:
    volume = world.register_volume()
    with world.hang_at("find") as stuck:
        snapshot_id = world.request_manage(volume, SNAPSHOT)
        stuck.reached()
        held = world.record(snapshot_id)
        late = Claimed(replace(held, claim_number=held.claim_number - 1))

        worker_of(world).take_claimed([late], set())

    assert world.await_settled(snapshot_id)["status"] == "available"
