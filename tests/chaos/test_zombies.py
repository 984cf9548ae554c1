"""A worker that is frozen past its lease does no harm when it continues after another worker's claim."""

import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from snapmanage.testing.services.daemon import Daemon
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.chaos import actions, stalling_volume
from tests.chaos.fleet.fleet import Fleet, fleet
from tests.chaos.fleet.machines import HOST


@pytest.fixture
def deployment(tmp_path: Path, rabbitmq: RabbitMQ, mariadb: MariaDB) -> Iterator[Fleet]:
    """Run a deployment for one test only: a late rename of a zombie is harmless, but violates an invariant."""
    with fleet(tmp_path / "fleet", rabbitmq, mariadb, [HOST]) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def managed(deployment: Fleet) -> str:
    """Manage a snapshot before the zombie starts."""
    action = actions.manage(deployment)
    assert isinstance(action, actions.ManageAction)
    action()
    deployment.await_idle()
    return action.snapshot_id


@pytest.fixture
def zombie(request: pytest.FixtureRequest, deployment: Fleet, folder: Path) -> Iterator[Daemon]:
    """Run a server that stalls in the given manner, in place of the deployment's own server."""
    command = [*stalling_volume.COMMAND, str(folder / "journal"), request.param]
    daemon = deployment.daemon("volume", HOST, f"zombie-{uuid.uuid4().hex}", command)
    deployment.daemons[HOST].close()
    daemon.start()
    yield daemon
    daemon.close()
    deployment.revive(HOST)


def overtake(deployment: Fleet, managed: str, zombie: Daemon, folder: Path) -> None:
    """Freeze the zombie while it unmanages a snapshot, and let another server finish."""
    actions.UnmanageAction(deployment, managed)()
    await_stall(folder)
    zombie.send(signal.SIGSTOP)
    deployment.revive(HOST)
    deployment.await_idle()


def await_managed(deployment: Fleet, snapshot_id: str) -> None:
    """Wait for the snapshot; its cast may be delivered to the zombie first, and requeued only later."""
    until(
        lambda: row(deployment, snapshot_id)["status"] == "available",
        f"snapshot {snapshot_id} to be available",
        seconds=60,
    )


def request_and_stall(deployment: Fleet, folder: Path) -> actions.ManageAction:
    """Request to manage a snapshot, and wait until the zombie stalls at its rename."""
    action = actions.manage(deployment)
    assert isinstance(action, actions.ManageAction)
    action()
    await_stall(folder)
    return action


def await_stall(folder: Path) -> None:
    until(lambda: (folder / "journal").exists(), "the zombie to stall")


def wake(zombie: Daemon, folder: Path) -> None:
    """Let the zombie continue, and wait until it notices the other claim."""
    zombie.send(signal.SIGCONT)
    (folder / "go").touch()
    until(lambda: "Dropped late outcomes" in zombie.log.read_text(), "the zombie to notice the other claim")


def row(deployment: Fleet, snapshot_id: str) -> dict[str, Any]:
    query = sa.text("SELECT * FROM snapshots WHERE id = :id")
    with deployment.engine.connect() as conn:
        return dict(conn.execute(query, {"id": snapshot_id}).mappings().one())


@pytest.mark.parametrize("zombie", ["after", "before"], indirect=True)
def test_zombie_writes_and_renames_nothing_after_another_claim(deployment: Fleet, zombie: Daemon, folder: Path) -> None:
    action = request_and_stall(deployment, folder)
    zombie.send(signal.SIGSTOP)
    deployment.revive(HOST)
    deployment.await_idle()
    before = row(deployment, action.snapshot_id)

    wake(zombie, folder)

    assert before["status"] == "available"
    assert row(deployment, action.snapshot_id) == before
    assert zombie.stop() == 0
    deployment.await_idle()


@pytest.mark.parametrize("zombie", ["before"], indirect=True)
def test_zombie_that_wakes_after_its_snapshot_was_unmanaged_leaves_the_object_unchanged_and_manageable(
    deployment: Fleet, zombie: Daemon, folder: Path
) -> None:
    action = request_and_stall(deployment, folder)
    storage = deployment.storages[HOST]
    zombie.send(signal.SIGSTOP)
    deployment.revive(HOST)
    deployment.await_idle()
    actions.UnmanageAction(deployment, action.snapshot_id)()
    deployment.await_idle()
    before = row(deployment, action.snapshot_id)

    wake(zombie, folder)

    assert row(deployment, action.snapshot_id) == before
    assert storage.deviations() == []
    renamed = before["backend_name"]
    assert storage.key_of(renamed)
    again = actions.ManageAction(deployment, HOST, renamed)
    again()
    await_managed(deployment, again.snapshot_id)


@pytest.mark.parametrize("zombie", ["after", "before"], indirect=True)
def test_zombie_that_unmanages_changes_nothing_after_another_claim(
    deployment: Fleet, managed: str, zombie: Daemon, folder: Path
) -> None:
    overtake(deployment, managed, zombie, folder)
    before = row(deployment, managed)

    wake(zombie, folder)

    assert before["status"] == "deleted"
    assert row(deployment, managed) == before
    assert zombie.stop() == 0
    deployment.await_idle()


@pytest.mark.parametrize("zombie", ["before"], indirect=True)
def test_zombie_that_unmanages_leaves_the_object_to_its_new_owner(
    deployment: Fleet, managed: str, zombie: Daemon, folder: Path
) -> None:
    overtake(deployment, managed, zombie, folder)
    again = actions.ManageAction(deployment, HOST, row(deployment, managed)["original_name"])
    again()
    await_managed(deployment, again.snapshot_id)
    before = row(deployment, again.snapshot_id)

    wake(zombie, folder)

    assert row(deployment, again.snapshot_id) == before
    assert deployment.storages[HOST].deviations() == []
    assert deployment.storages[HOST].key_of(before["backend_name"])
