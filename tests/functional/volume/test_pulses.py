"""The pulses of a server show each loop that hangs, and only those."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from snapmanage.drivers.fake import FakeDriver
from snapmanage.store import records
from snapmanage.testing.waiting import until
from snapmanage.volume.limits import BackendLimits
from tests.functional.client import SERVER
from tests.functional.volume.helpers import worker_of
from tests.functional.world import World, running_world

QUICK = BackendLimits(scan_interval_seconds=0.05)


@contextmanager
def no_writes(world: World) -> Iterator[None]:
    """Let each write of the database wait."""
    begun, release = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        release.wait(20)

    holding = threading.Thread(target=lambda: world.db.write(lambda conn, now: wait()))
    holding.start()
    assert begun.wait(20)
    try:
        yield
    finally:
        release.set()
        holding.join()


def hung(world: World) -> set[str]:
    """Return the names of the loops whose turn takes longer than a tenth of a second."""
    return {pulse.name for pulse in world.server.pulses() if pulse.problem(0.1)}


def test_heartbeat_and_worker_that_wait_for_the_database_have_hung_turns(tmp_path: Path) -> None:
    with running_world(tmp_path, {SERVER: FakeDriver()}, heartbeat_seconds=0.02) as world:
        until(lambda: world.server.servers == {SERVER}, "the backend to be served")
        with no_writes(world):
            worker_of(world).nudge()

            until(lambda: hung(world) == {"heartbeat", f"worker {SERVER}"}, "both to be hung")

        until(lambda: hung(world) == set(), "both to continue")


def test_scan_for_due_operations_that_waits_for_the_database_has_a_hung_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    with running_world(tmp_path, {SERVER: FakeDriver()}, backend_limits=QUICK) as world:
        with monkeypatch.context() as patch:
            patch.setattr(records, "servers_with_due", lambda *arguments: release.wait(20) and set())

            until(lambda: hung(world) == {"due scan"}, "the scan to be hung")
        release.set()
        until(lambda: hung(world) == set(), "the scan to continue")
