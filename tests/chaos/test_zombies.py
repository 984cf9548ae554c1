"""A worker that was frozen past its lease wakes up when another has taken over: it can't hurt any more."""

import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from snapmanage.testing.services.deployment import Daemon
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.chaos import stories
from tests.chaos.conftest import HOST
from tests.chaos.fleet import Fleet, fleet

STALLING = str(Path(__file__).with_name("stalling_volume.py"))


@pytest.fixture
def deployment(tmp_path: Path, rabbitmq: RabbitMQ, mariadb: MariaDB) -> Iterator[Fleet]:
    """One of the test's own: what a zombie does may be harmless, and is against the invariants all the same."""
    with fleet(tmp_path / "fleet", rabbitmq, mariadb, [HOST]) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def managed(deployment: Fleet) -> str:
    """A snapshot that is managed before there are zombies."""
    story = stories.manage(deployment)
    assert isinstance(story, stories.Manage)
    story()
    deployment.rest()
    return story.snapshot_id


@pytest.fixture
def zombie(request: pytest.FixtureRequest, deployment: Fleet, folder: Path) -> Iterator[Daemon]:
    """A server in the place of the deployment's own, which stalls in the given manner."""
    command = [sys.executable, STALLING, str(folder / "journal"), request.param]
    daemon = deployment.daemon("volume", HOST, f"zombie-{uuid.uuid4().hex}", command)
    deployment.daemons[HOST].close()
    daemon.start()
    yield daemon
    daemon.close()
    deployment.revive(HOST)


@pytest.mark.parametrize("zombie", ["after", "before"], indirect=True)
def test_zombie_writes_nothing_and_renames_nothing_when_another_took_over(
    deployment: Fleet, zombie: Daemon, folder: Path
) -> None:
    story = asked(deployment, folder)
    zombie.send(signal.SIGSTOP)
    deployment.revive(HOST)
    deployment.rest()
    before = row(deployment, story.snapshot_id)

    wake(zombie, folder)

    assert before["status"] == "available"
    assert row(deployment, story.snapshot_id) == before
    assert zombie.stop() == 0
    deployment.rest()


@pytest.mark.parametrize("zombie", ["before"], indirect=True)
def test_zombie_that_wakes_when_its_object_was_given_back_leaves_it_whole_and_manageable(
    deployment: Fleet, zombie: Daemon, folder: Path
) -> None:
    story = asked(deployment, folder)
    storage = deployment.storages[HOST]
    zombie.send(signal.SIGSTOP)
    deployment.revive(HOST)
    deployment.rest()
    stories.Unmanage(deployment, story.snapshot_id)()
    deployment.rest()
    before = row(deployment, story.snapshot_id)

    wake(zombie, folder)

    assert row(deployment, story.snapshot_id) == before
    assert storage.damage() == []
    renamed = before["backend_name"]
    assert storage.bears(renamed)
    again = stories.Manage(deployment, HOST, renamed)
    again()
    await_managed(deployment, again.snapshot_id)


def overtake(deployment: Fleet, managed: str, zombie: Daemon, folder: Path) -> None:
    """Freeze the zombie while it gives a snapshot back, and let another do it."""
    stories.Unmanage(deployment, managed)()
    stalled(folder)
    zombie.send(signal.SIGSTOP)
    deployment.revive(HOST)
    deployment.rest()


@pytest.mark.parametrize("zombie", ["after", "before"], indirect=True)
def test_zombie_that_gives_back_changes_nothing_when_another_took_over(
    deployment: Fleet, managed: str, zombie: Daemon, folder: Path
) -> None:
    overtake(deployment, managed, zombie, folder)
    before = row(deployment, managed)

    wake(zombie, folder)

    assert before["status"] == "deleted"
    assert row(deployment, managed) == before
    assert zombie.stop() == 0
    deployment.rest()


@pytest.mark.parametrize("zombie", ["before"], indirect=True)
def test_zombie_that_gives_back_leaves_its_object_to_who_manages_it_by_now(
    deployment: Fleet, managed: str, zombie: Daemon, folder: Path
) -> None:
    overtake(deployment, managed, zombie, folder)
    again = stories.Manage(deployment, HOST, row(deployment, managed)["original_name"])
    again()
    await_managed(deployment, again.snapshot_id)
    before = row(deployment, again.snapshot_id)

    wake(zombie, folder)

    assert row(deployment, again.snapshot_id) == before
    assert deployment.storages[HOST].damage() == []
    assert deployment.storages[HOST].bears(before["backend_name"])


def await_managed(deployment: Fleet, snapshot_id: str) -> None:
    """The cast may go to the zombie, which still consumes, and be sent again to the other only after a while."""
    until(lambda: row(deployment, snapshot_id)["status"] == "available", "it to be managed again", seconds=60)


def asked(deployment: Fleet, folder: Path) -> stories.Manage:
    """Ask for a snapshot, and wait until the zombie stalls at its rename."""
    story = stories.manage(deployment)
    assert isinstance(story, stories.Manage)
    story()
    stalled(folder)
    return story


def stalled(folder: Path) -> None:
    until(lambda: (folder / "journal").exists(), "the zombie to stall")


def wake(zombie: Daemon, folder: Path) -> None:
    """Let the zombie go on, and wait until it has found out."""
    zombie.send(signal.SIGCONT)
    (folder / "go").touch()
    until(lambda: "Dropped late outcomes" in zombie.log.read_text(), "the zombie to find out")


def row(deployment: Fleet, snapshot_id: str) -> dict[str, Any]:
    query = sa.text("SELECT * FROM snapshots WHERE id = :id")
    with deployment.engine.connect() as conn:
        return dict(conn.execute(query, {"id": snapshot_id}).one()._mapping)
