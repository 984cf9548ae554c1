"""SIGTERM under load: a server finishes its operations or releases their claims, and another process continues."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from snapmanage.testing.services.daemon import Daemon
from snapmanage.testing.waiting import until
from tests.chaos import actions, stalling_volume
from tests.chaos.fleet.fleet import Fleet
from tests.chaos.fleet.machines import HOST

# With so long a lease, another process can only claim operations whose claims were released.
LONG_LEASE = {"OS_OPERATIONS__LEASE_SECONDS": "600"}


@pytest.fixture
def second(deployment: Fleet) -> Iterator[Daemon]:
    """Prepare another process that serves the same backend."""
    deployment.daemons[HOST].close()
    deployment.daemons[HOST].start(LONG_LEASE)
    daemon = deployment.daemon("volume", HOST, "second")
    yield daemon
    daemon.close()
    deployment.daemons[HOST].close()
    deployment.daemons[HOST].start()


def test_server_that_is_stopped_under_load_leaves_no_operation_undone(deployment: Fleet, second: Daemon) -> None:
    for _ in range(100):
        actions.cast(deployment)()

    deployment.daemons[HOST].send(signal.SIGTERM)
    second.start(LONG_LEASE)

    assert deployment.daemons[HOST].await_exit() == 0
    until(lambda: deployment.known_ids() >= deployment.promises.keys(), "the casts to be accepted")
    deployment.await_idle()


def test_claim_of_an_operation_that_cannot_be_finished_is_released_and_another_process_claims_it(
    deployment: Fleet, second: Daemon, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    stalling = deployment.daemon("volume", HOST, "stalling", [*stalling_volume.COMMAND, str(journal), "stall"])
    deployment.daemons[HOST].close()
    stalling.start(LONG_LEASE | {"OS_OPERATIONS__GRACEFUL_SHUTDOWN_TIMEOUT": "1"})
    action = actions.manage(deployment)
    action()
    until(journal.exists, "the rename to be in the journal")
    second.start(LONG_LEASE)

    assert stalling.stop() == 0

    deployment.await_idle(20)
    assert isinstance(action, actions.ManageAction)
    attempt = sa.text("SELECT attempt FROM snapshots WHERE id = :id")
    with deployment.engine.connect() as conn:
        assert conn.execute(attempt, {"id": action.snapshot_id}).scalar_one() == 1
