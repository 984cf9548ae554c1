"""A server is killed at the worst moment: the backend has renamed the object, but the database doesn't show it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from snapmanage.testing import needs
from snapmanage.testing.services.daemon import Daemon
from snapmanage.testing.services.deployment import Deployment, deployed
from snapmanage.testing.services.lvm_metadata import metadata_group
from snapmanage.testing.services.process import unique
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.chaos import stalling_volume
from tests.services.network.wiretap import Wiretap

STEPS = ["snapshot.manage.start", "snapshot.manage.end"]
COMBINATIONS = [("mariadb", "lvm"), ("postgresql", "file")]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "renames"


@pytest.fixture
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield the lines of a backend's section; it has the volume `disk` and the snapshot `disk@daily` or `daily`."""
    if request.param == "file":
        (tmp_path / "images").mkdir()
        (tmp_path / "images" / "disk").write_bytes(b"data")
        (tmp_path / "images" / "disk@daily").write_bytes(b"data")
        yield f"driver = file\ndirectory = {tmp_path}/images\n"
    else:
        needs.require("lvs", "losetup", root=True)
        (tmp_path / "lvm").mkdir()
        with metadata_group(tmp_path / "lvm", unique("vg")) as group:
            group.add_volumes("disk")
            group.add_thick_snapshots("disk", "daily")
            yield f"driver = lvm\nvolume_group = {group.name}\nlvm_system_dir = {group.system_dir}\n"


def volume_daemon(deployment: Deployment, journal: Path, manner: str) -> Daemon:
    return deployment.daemon("volume", [*stalling_volume.COMMAND, str(journal), manner])


@pytest.mark.parametrize(("database", "backend"), COMBINATIONS, indirect=["backend"])
def test_snapshot_renamed_by_a_killed_server_becomes_available_with_one_start_one_end_and_one_rename(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    rabbitmq: RabbitMQ,
    exchange: str,
    tap: Wiretap,
    backend: str,
    database: str,
    journal: Path,
) -> None:
    database_url = request.getfixturevalue(database).database()
    with deployed(tmp_path, rabbitmq.url, exchange, database_url, backend) as deployment:
        volume_id = deployment.register("disk")
        deployment.daemons["volume"].stop()
        stalling = volume_daemon(deployment, journal, "stall")
        stalling.start()
        snapshot_id = deployment.request_manage(volume_id, "disk@daily" if "file" in backend else "daily")
        until(lambda: journal.exists() and journal.read_text().endswith("\n"), "the rename to be in the journal")
        assert deployment.get(f"/snapshots/{snapshot_id}")["snapshot"]["status"] == "creating"

        stalling.kill()
        volume_daemon(deployment, journal, "go").start()

        assert deployment.await_settled(snapshot_id) == "available"
        for step in STEPS:  # another process may send the events of the killed one, later
            deployment.audited_events(snapshot_id, step)
        until(lambda: len(tap.notifications_about(snapshot_id)) >= len(STEPS), "both events on the wire")
        assert [each["event_type"] for each in tap.notifications_about(snapshot_id)] == STEPS
        assert len(journal.read_text().splitlines()) == 1
        assert deployment.get(f"/snapshots/{snapshot_id}/operation")["operation"]["attempt"] == 2
        verified = deployment.manage("audit", "verify")
        assert (verified.returncode, "2 rows" in verified.stdout) == (0, True), verified.stdout
