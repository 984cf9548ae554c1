"""`snapmanage-manage host move`, and the warnings about hosts that no server serves."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.functional.cmd.programs import HOST, VOLUME, Standalone, manage, manage_snapshot, refusal, run

NEW = "renamed@files"


def rename_host(standalone: Standalone) -> None:
    """Let the configuration name another host."""
    file = standalone.folder / "snapmanage.conf"
    file.write_text(file.read_text().replace("host = localhost", "host = renamed"))
    age_heartbeat(standalone)


def age_heartbeat(standalone: Standalone) -> None:
    """Let the last heartbeat be of a time long ago."""
    with closing(sqlite3.connect(standalone.folder / "snapmanage.db")) as db, db:
        db.execute("UPDATE services SET heartbeat_at = '2026-01-01 00:00:00.000000'")


def stopped_with_a_snapshot(standalone: Standalone) -> str:
    snapshot_id = manage_snapshot(standalone.start())
    standalone.end()
    rename_host(standalone)
    return snapshot_id


def test_moved_snapshot_agrees_with_its_backend_under_the_new_host(standalone: Standalone) -> None:
    stopped_with_a_snapshot(standalone)
    assert manage(standalone, "reconcile").returncode == 2

    dry = manage(standalone, "host", "move", "localhost", "renamed", "--dry-run", "-f", "json")
    moved = manage(standalone, "host", "move", "localhost", "renamed", "-f", "json")

    assert dry.returncode == moved.returncode == 0, moved.stderr
    assert json.loads(dry.stdout) == json.loads(moved.stdout)
    assert json.loads(moved.stdout) == [
        {"kind": kind, "status": "available", "old": HOST, "new": NEW, "number": 1} for kind in ("volume", "snapshot")
    ]
    ended = manage(standalone, "reconcile")
    assert ended.stdout == ""
    assert manage(standalone, "audit", "verify").returncode == 0
    assert NEW in manage(standalone, "host", "moves").stdout


def test_move_to_the_same_host_is_refused(standalone: Standalone) -> None:
    manage_snapshot(standalone.start())

    assert "another new one" in refusal(manage(standalone, "host", "move", HOST, HOST))
    assert "is up" in refusal(manage(standalone, "host", "move", HOST, NEW))


def test_records_of_a_host_that_is_not_served_are_named(standalone: Standalone) -> None:
    stopped_with_a_snapshot(standalone)

    reconciled, stuck = manage(standalone, "reconcile"), manage(standalone, "stuck")

    for ended in (reconciled, stuck):
        assert ended.returncode == 2
        assert f"1 volumes and 1 snapshots are on {HOST}" in ended.stdout
        assert f"host move {HOST}" in ended.stdout


def test_records_of_a_backend_that_is_not_enabled_any_more_are_named_with_the_remedy(standalone: Standalone) -> None:
    manage_snapshot(standalone.start())
    standalone.end()
    file = standalone.folder / "snapmanage.conf"
    file.write_text(re.sub(r"enabled_backends = \w+", "enabled_backends = others", file.read_text()))
    with file.open("a") as more:
        more.write(f"\n[others]\ndriver = file\ndirectory = {another_folder(standalone)}\n")
    age_heartbeat(standalone)

    ended = manage(standalone, "reconcile")

    assert ended.returncode == 2
    assert "backend files is not in [DEFAULT] enabled_backends here" in ended.stdout


@pytest.mark.parametrize("program", ["snapmanage-volume", "snapmanage-api"])
def test_process_warns_at_its_start_of_records_that_no_server_serves(standalone: Standalone, program: str) -> None:
    stopped_with_a_snapshot(standalone)

    ended = run(program, "--config-file", standalone.folder / "snapmanage.conf")

    assert "use rabbit://" in ended.stderr  # the standalone's bus reaches no other process
    log = (standalone.folder / "snapmanage.log").read_text()
    assert f"1 volumes and 1 snapshots are on {HOST}" in log
    assert f"`snapmanage-manage host move {HOST} HOST@BACKEND`" in log


def another_folder(standalone: Standalone) -> Path:
    folder = standalone.folder / "others"
    folder.mkdir()
    (folder / VOLUME).write_text("")
    return folder
