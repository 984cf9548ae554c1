"""What an operator is told of what is late, and of records and backends that disagree; and what can be mended."""

import signal
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from snapmanage.core import outbox as messages
from snapmanage.core.records import Operation, Status
from snapmanage.core.services import Service
from snapmanage.manage import requests
from snapmanage.manage.application import Application, OutboxWriter, Rules
from snapmanage.store import outbox, records, services
from snapmanage.store.engine.database import connect
from snapmanage.testing.waiting import until
from tests import examples
from tests.functional.cmd.test_commands import (
    SNAPSHOTS,
    VOLUME,
    Standalone,
    asked,
    configuration,
    manage,
    registered,
    run,
    settled,
    standalone,
)

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
    requests.request_snapshot(Application(db, OutboxWriter(), Rules()), wanted, everywhere=True)
    db.close()


def test_each_reason_for_being_late_is_told(standalone: Standalone) -> None:
    standalone.start()
    standalone.end()
    db = connect(f"sqlite:///{standalone.folder}/snapmanage.db")
    now, minute = db.now(), timedelta(minutes=1)
    late: dict[str, dict[str, Any]] = {
        "hasn't accepted it, and its cast is sent again at": {},
        "hasn't accepted it, and no cast for it is waiting": {},
        "nobody claims it; storage-1@fast was never heard of": {"due_at": now - minute},
        "whose lease runs until": {"due_at": now + minute, "claimed_by": "w"},
        "whose lease ran out at": {"due_at": now - minute, "claimed_by": "w"},
        "failed, the next is at": {"due_at": now + minute, "reason": "it is away"},
        "is unmanaging since": {"status": Status.UNMANAGING, "operation": Operation.UNMANAGE},
        "storage-2@fast was last heard of at": {"host": "storage-2@fast#pool"},
        "storage-3@fast is up": {"host": "storage-3@fast#pool"},
    }
    made = [examples.snapshot(id=examples.new_id(), created_at=now - minute, **fields) for fields in late.values()]

    def write(conn: Connection, now: datetime) -> None:
        for snapshot in made:
            records.insert(conn, snapshot)
        outbox.add(conn, [messages.cast(made[0])], now - minute, now)
        services.beat(conn, Service("storage-2@fast", "fake", now - timedelta(hours=1)))
        services.beat(conn, Service("storage-3@fast", "fake", now + minute))

    db.write(write)
    db.close()

    told = manage(standalone, "stuck", "--older-than", "30")

    assert told.returncode == 2, told.stderr
    *lines, last = told.stdout.splitlines()
    said = {line.split()[1]: line for line in lines}
    assert [reason for snapshot, reason in zip(made, late, strict=True) if reason not in said[snapshot.id]] == []
    assert last.startswith("1 messages are in the outbox for longer than that")


@pytest.mark.parametrize("seconds", ["soon", "-1", "nan"])
def test_time_that_is_none_is_refused(tmp_path: Path, seconds: str) -> None:
    file = configuration(tmp_path, f"sqlite:///{tmp_path}/snapmanage.db")

    told = run("snapmanage-manage", "--config-file", file, "stuck", "--older-than", seconds)

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


def test_snapshot_that_seems_gone_from_another_storage_is_not_given_away(standalone: Standalone) -> None:
    client = standalone.start()
    snapshot_id = asked(client, registered(client), f"{VOLUME}@daily")
    settled(client, snapshot_id)
    standalone.backend.rename(standalone.backend.with_name("unmounted"))
    standalone.backend.mkdir()

    told = manage(standalone, "reconcile", "--mend").stdout

    assert "another storage" in told
    assert "for a person to decide" in told
    assert client.snapshot(snapshot_id)["status"] == "available"


def test_size_that_the_backend_learned_later_is_told_and_recorded_only_when_asked_to(standalone: Standalone) -> None:
    client = standalone.start()
    with (standalone.backend / f"{VOLUME}@daily").open("r+b") as image:
        image.truncate(0)
    snapshot_id = asked(client, registered(client), f"{VOLUME}@daily")
    settled(client, snapshot_id)
    with (standalone.backend / f"{VOLUME}@snapshot-{snapshot_id}").open("r+b") as image:
        image.truncate(2**30 + 1)

    told = manage(standalone, "reconcile")
    assert (told.returncode, told.stdout.split(":")[0]) == (2, "UNSIZED")
    assert client.snapshot(snapshot_id)["size"] == 0

    assert "recorded" in manage(standalone, "reconcile", "--mend").stdout
    assert client.snapshot(snapshot_id)["size"] == 2
    assert manage(standalone, "reconcile").returncode == 0


def test_snapshot_whose_name_another_object_has_is_never_given_away(standalone: Standalone) -> None:
    client = standalone.start()
    snapshot_id = asked(client, registered(client), f"{VOLUME}@daily")
    settled(client, snapshot_id)
    file = standalone.backend / f"{VOLUME}@snapshot-{snapshot_id}"
    file.rename(standalone.folder / "elsewhere")
    file.write_text("another")

    told = manage(standalone, "reconcile", "--mend")

    assert told.returncode == 2
    assert told.stdout.startswith(f"REPLACED: snapshot {snapshot_id} on localhost@files")
    assert "for a person to decide" in told.stdout
    assert client.snapshot(snapshot_id)["status"] == "available"
    assert file.read_text() == "another"


def test_snapshot_that_is_no_snapshots_name_any_more_is_told_of_and_never_given_away(standalone: Standalone) -> None:
    client = standalone.start()
    snapshot_id = asked(client, registered(client), f"{VOLUME}@daily")
    settled(client, snapshot_id)
    (standalone.backend / f"{VOLUME}@snapshot-{snapshot_id}").rename(standalone.backend / "backup.img")

    told = manage(standalone, "reconcile", "--mend")

    assert told.returncode == 2
    assert told.stdout.startswith(f"RENAMED: snapshot {snapshot_id} on localhost@files")
    assert "'backup.img'" in told.stdout
    assert "for a person to decide" in told.stdout
    assert client.snapshot(snapshot_id)["status"] == "available"
    assert "backup.img" in standalone.files()


def test_snapshot_whose_volume_was_removed_agrees_with_its_record(standalone: Standalone) -> None:
    client = standalone.start()
    snapshot_id = asked(client, registered(client), f"{VOLUME}@daily")
    settled(client, snapshot_id)
    (standalone.backend / VOLUME).unlink()

    told = manage(standalone, "reconcile", "--mend")

    assert (told.returncode, told.stdout) == (0, "")
    assert client.snapshot(snapshot_id)["status"] == "available"


def test_what_bears_a_name_of_ours_that_nobody_manages_is_for_a_person_to_decide(standalone: Standalone) -> None:
    client = standalone.start()
    snapshot_id = asked(client, registered(client), f"{VOLUME}@daily")
    settled(client, snapshot_id)
    client.unmanage(snapshot_id)
    until(lambda: client.get(f"snapshots/{snapshot_id}").status_code == 404, "it to be given back")
    (standalone.backend / f"{VOLUME}@daily").rename(standalone.backend / f"{VOLUME}@snapshot-{snapshot_id}")
    before = standalone.files()

    told = manage(standalone, "reconcile", "--mend")

    assert told.returncode == 2
    assert told.stdout.startswith(f"UNOWNED: snapshot {snapshot_id} on localhost@files")
    assert "for a person to decide" in told.stdout
    assert standalone.files() == before


def test_object_that_two_records_manage_is_for_a_person_to_decide(standalone: Standalone) -> None:
    client = standalone.start()
    volume = registered(client)
    first, second = (asked(client, volume, f"{VOLUME}@{name}") for name in SNAPSHOTS[:2])
    assert {settled(client, each)["status"] for each in (first, second)} == {"available"}
    confuse(standalone, first, second)

    told = manage(standalone, "reconcile", "--mend")

    assert told.returncode == 2
    [line, mended] = told.stdout.splitlines()
    assert line.startswith(f"TWICE: snapshot {second} on localhost@files")
    assert first in line
    assert "for a person to decide" in mended


def confuse(standalone: Standalone, first: str, second: str) -> None:
    """Let the second record name the first one's object, as no request could."""
    columns = "(backend_id, backend_name)"
    with closing(sqlite3.connect(standalone.folder / "snapmanage.db")) as db, db:
        db.execute(
            f"UPDATE snapshots SET {columns} = (SELECT backend_id, backend_name FROM snapshots WHERE id = ?) "
            "WHERE id = ?",
            (first, second),
        )


def test_what_could_not_be_given_back_is_told_of_when_it_was_renamed_and_when_it_is_gone(
    standalone: Standalone,
) -> None:
    client = standalone.start()
    snapshot_id = asked(client, registered(client), f"{VOLUME}@daily")
    settled(client, snapshot_id)
    (standalone.backend / f"{VOLUME}@daily").write_text("another of that name")
    client.unmanage(snapshot_id)
    assert settled(client, snapshot_id)["status"] == "error"
    assert manage(standalone, "reconcile").stdout == ""
    mine = standalone.backend / f"{VOLUME}@mine"
    (standalone.backend / f"{VOLUME}@snapshot-{snapshot_id}").rename(mine)

    told = manage(standalone, "reconcile", "--mend").stdout

    assert told.startswith(f"RENAMED: snapshot {snapshot_id}")
    assert "for a person to decide" in told
    mine.unlink()
    assert manage(standalone, "reconcile", "--mend").stdout.startswith(f"VANISHED: snapshot {snapshot_id}")
    until(lambda: client.get(f"snapshots/{snapshot_id}").status_code == 404, "it to be forgotten")


def test_backend_that_fails_keeps_nobody_from_hearing_of_the_others(standalone: Standalone) -> None:
    client = standalone.start()
    snapshot_id = asked(client, registered(client), f"{VOLUME}@daily")
    settled(client, snapshot_id)
    file = standalone.folder / "snapmanage.conf"
    broken = "[broken]\ndriver = file\ndirectory = /nowhere\n"
    file.write_text(file.read_text().replace("enabled_backends = ", "enabled_backends = broken,") + broken)

    without = manage(standalone, "reconcile")
    (standalone.backend / f"{VOLUME}@snapshot-{snapshot_id}").unlink()
    told = manage(standalone, "reconcile")

    assert (without.returncode, without.stdout) == (1, "")
    assert without.stderr.startswith("error: localhost@broken can't be compared: ")
    assert (told.returncode, told.stdout.split(":")[0]) == (2, "VANISHED")
