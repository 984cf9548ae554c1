"""What an operator is told of what is late, and of records and backends that disagree; and what can be mended."""

import signal

import pytest

from snapmanage.manage import requests
from snapmanage.manage.site import Outlet, Rules, Site
from snapmanage.store.database import connect
from tests import examples
from tests.functional.test_commands import VOLUME, Standalone, asked, manage, registered, settled, standalone
from tests.waiting import until

__all__ = ["standalone"]


def test_nothing_is_late_or_disagrees_where_all_is_well(standalone: Standalone) -> None:
    client = standalone.start()
    settled(client, asked(client, registered(client), f"{VOLUME}@daily"))

    for command in ("stuck", "reconcile"):
        told = manage(standalone, command)
        assert (told.returncode, told.stdout) == (0, ""), told.stderr


def test_operation_that_nobody_carries_out_is_late_and_the_server_told_of(standalone: Standalone) -> None:
    client = standalone.start()
    volume = registered(client)
    standalone.end(signal.SIGKILL)
    ask_without_it(standalone, volume)

    told = manage(standalone, "stuck", "--older-than", "0")

    assert told.returncode == 2
    assert "is creating since" in told.stdout
    assert "hasn't accepted it" in told.stdout


def ask_without_it(standalone: Standalone, volume_id: str) -> None:
    """What an API of its own would write, while no server is there."""
    db = connect(f"sqlite:///{standalone.folder}/snapmanage.db")
    wanted = examples.snapshot(f"{VOLUME}@daily", volume_id=volume_id)
    requests.request_snapshot(Site(db, Outlet(), Rules()), wanted, everywhere=True)
    db.close()


@pytest.mark.parametrize("seconds", ["soon", "-1", "nan"])
def test_time_that_is_none_is_refused(standalone: Standalone, seconds: str) -> None:
    standalone.start()

    told = manage(standalone, "stuck", "--older-than", seconds)

    assert (told.returncode, "number of seconds" in told.stderr) == (2, True)


def test_what_was_renamed_behind_our_back_is_told_and_renamed_back_only_when_asked_to(standalone: Standalone) -> None:
    client = standalone.start()
    snapshot_id = asked(client, registered(client), f"{VOLUME}@daily")
    settled(client, snapshot_id)
    name = f"{VOLUME}@snapshot-{snapshot_id}"
    (standalone.backend / name).rename(standalone.backend / f"{VOLUME}@mine")

    told = manage(standalone, "reconcile")
    assert told.returncode == 2
    assert told.stdout.startswith(f"RENAMED: snapshot {snapshot_id} on localhost@files")
    assert name not in standalone.files()

    assert "again" in manage(standalone, "reconcile", "--mend").stdout
    assert name in standalone.files()
    assert manage(standalone, "reconcile").returncode == 0


def test_what_is_gone_is_told_and_unmanaged_only_when_asked_to(standalone: Standalone) -> None:
    client = standalone.start()
    snapshot_id = asked(client, registered(client), f"{VOLUME}@daily")
    settled(client, snapshot_id)
    (standalone.backend / f"{VOLUME}@snapshot-{snapshot_id}").unlink()

    told = manage(standalone, "reconcile")
    assert (told.returncode, told.stdout.split(":")[0]) == (2, "VANISHED")
    assert client.snapshot(snapshot_id)["status"] == "available"

    assert "unmanaged" in manage(standalone, "reconcile", "--mend").stdout
    until(lambda: client.get(f"/snapshots/{snapshot_id}").status_code == 404, "it to be forgotten")
    assert manage(standalone, "reconcile").returncode == 0
