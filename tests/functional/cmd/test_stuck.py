"""`snapmanage-manage stuck` reports each stuck operation with the reason, and counts stuck messages."""

import signal
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from snapmanage.core.outbox import cast
from snapmanage.core.records import Operation, Status
from snapmanage.core.services import Service
from snapmanage.core.values.location import Location
from snapmanage.manage import requests
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.manage.rules import Rules
from snapmanage.store import outbox, records, services
from snapmanage.store.engine.database import connect
from tests import examples
from tests.functional.cmd.programs import (
    VOLUME,
    Standalone,
    configuration,
    manage,
    manage_snapshot,
    register_volume,
    run,
)


def test_nothing_is_stuck_after_an_operation_has_finished(standalone: Standalone) -> None:
    client = standalone.start()
    manage_snapshot(client)

    ended = manage(standalone, "stuck")

    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr


def test_operation_that_its_server_never_accepted_is_reported_as_stuck(standalone: Standalone) -> None:
    client = standalone.start()
    volume = register_volume(client)
    standalone.end(signal.SIGKILL)
    request_without_server(standalone, volume)

    ended = manage(standalone, "stuck", "--older-than", "0")

    assert ended.returncode == 2
    assert "has been creating since" in ended.stdout
    assert "hasn't accepted it" in ended.stdout


def request_without_server(standalone: Standalone, volume_id: str) -> None:
    """Write a request like a separate API process, while no server runs."""
    db = connect(f"sqlite:///{standalone.folder}/snapmanage.db")
    wanted = examples.snapshot(f"{VOLUME}@daily", volume_id=volume_id)
    requests.request_snapshot(Application(db, OutboxWriter(), Rules()), wanted, everywhere=True)
    db.close()


def test_each_reason_of_a_stuck_operation_is_reported(standalone: Standalone) -> None:
    standalone.start()
    standalone.end()
    db = connect(f"sqlite:///{standalone.folder}/snapmanage.db")
    now, minute = db.now(), timedelta(minutes=1)
    stuck: dict[str, dict[str, Any]] = {
        "hasn't accepted it, and its cast is sent again at": {},
        "hasn't accepted it, and no cast for it is waiting": {},
        "no worker claims it; storage-1@fast never sent a heartbeat": {"due_at": now - minute},
        "whose lease runs until": {"due_at": now + minute, "claimed_by": "w"},
        "whose lease ran out at": {"due_at": now - minute, "claimed_by": "w"},
        "failed, the next is at": {"due_at": now + minute, "reason": "it is away"},
        "has been unmanaging since": {"status": Status.UNMANAGING, "operation": Operation.UNMANAGE},
        "storage-2@fast sent its last heartbeat at": {"location": Location("storage-2", "fast", "pool")},
        "storage-3@fast is up": {"location": Location("storage-3", "fast", "pool")},
    }
    made = [examples.snapshot(id=examples.new_id(), created_at=now - minute, **fields) for fields in stuck.values()]

    def write(conn: Connection, now: datetime) -> None:
        for snapshot in made:
            records.insert(conn, snapshot)
        outbox.add(conn, [cast(made[0])], now - minute, now)
        services.beat(conn, Service("storage-2@fast", "fake", now - timedelta(hours=1)))
        services.beat(conn, Service("storage-3@fast", "fake", now + minute))

    db.write(write)
    db.close()

    ended = manage(standalone, "stuck", "--older-than", "30")

    assert ended.returncode == 2, ended.stderr
    *lines, last = ended.stdout.splitlines()
    reported = {line.split()[1]: line for line in lines}
    assert [reason for snapshot, reason in zip(made, stuck, strict=True) if reason not in reported[snapshot.id]] == []
    assert last.startswith("1 messages have been in the outbox for longer than 30 seconds")


@pytest.mark.parametrize("seconds", ["soon", "-1", "nan"])
def test_malformed_number_of_seconds_is_refused(tmp_path: Path, seconds: str) -> None:
    file = configuration(tmp_path, f"sqlite:///{tmp_path}/snapmanage.db")

    ended = run("snapmanage-manage", "--config-file", file, "stuck", "--older-than", seconds)

    assert (ended.returncode, "a number of seconds from 0 to less than 1000000000" in ended.stderr) == (2, True)
