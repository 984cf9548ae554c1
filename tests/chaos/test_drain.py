"""SIGTERM under load: what is in hand is finished or given back in time, and another process goes on at once."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from snapmanage.testing.services.deployment import Daemon
from snapmanage.testing.waiting import until
from tests.chaos import stories
from tests.chaos.conftest import HOST
from tests.chaos.fleet import Fleet

STALLING = str(Path(__file__).with_name("stalling_volume.py"))
# Nobody can take over because a lease ran out: only what was given back.
LONG_LEASE = {"OS_OPERATIONS__LEASE_SECONDS": "600"}


@pytest.fixture
def second(deployment: Fleet) -> Iterator[Daemon]:
    """Another process that serves the same backend."""
    deployment.daemons[HOST].close()
    deployment.daemons[HOST].start(LONG_LEASE)
    daemon = deployment.daemon("volume", HOST, "second")
    yield daemon
    daemon.close()
    deployment.daemons[HOST].close()
    deployment.daemons[HOST].start()


def test_server_that_is_told_to_end_under_load_leaves_nothing_undone(deployment: Fleet, second: Daemon) -> None:
    for _ in range(100):
        stories.cast(deployment)()

    deployment.daemons[HOST].send(signal.SIGTERM)
    second.start(LONG_LEASE)

    assert deployment.daemons[HOST].ended() == 0
    until(lambda: deployment.known() >= deployment.promises.keys(), "the casts to be accepted")
    deployment.rest()


def test_operation_that_can_not_be_finished_is_given_back_and_taken_over(
    deployment: Fleet, second: Daemon, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    stalling = deployment.daemon("volume", HOST, "stalling", [sys.executable, STALLING, str(journal), "stall"])
    deployment.daemons[HOST].close()
    stalling.start(LONG_LEASE | {"OS_OPERATIONS__GRACEFUL_SHUTDOWN_TIMEOUT": "1"})
    story = stories.manage(deployment)
    story()
    until(journal.exists, "the rename to be done")
    second.start(LONG_LEASE)

    assert stalling.stop() == 0

    deployment.rest(20)
    assert isinstance(story, stories.Manage)
    attempt = sa.text("SELECT attempt FROM snapshots WHERE id = :id")
    with deployment.engine.connect() as conn:
        assert conn.execute(attempt, {"id": story.snapshot_id}).scalar_one() == 1
