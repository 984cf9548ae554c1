"""`snapmanage-manage health` checks a deployment; its exit code shows whether it found a problem."""

import json
import signal
import sqlite3
from pathlib import Path

from tests.functional.cmd.programs import (
    VOLUME,
    Standalone,
    audit_entries,
    configuration,
    manage,
    manage_snapshot,
    register_volume,
    request_manage,
    run,
)


def test_healthy_deployment_passes_all_checks(standalone: Standalone) -> None:
    client = standalone.start()
    manage_snapshot(client)
    audit_entries(standalone, 2)

    ended = manage(standalone, "health")

    assert ended.returncode == 0, ended.stdout
    assert {line.split()[0] for line in ended.stdout.splitlines()} == {"ok"}
    assert "ok       records: 1 snapshots, each with a known server" in ended.stdout


def test_json_has_each_check_with_its_remedy(standalone: Standalone) -> None:
    client = standalone.start()
    volume = register_volume(client)
    manage(standalone, "service", "disable", "localhost@files", "--reason", "maintenance")

    ended = manage(standalone, "health", "-f", "json")

    assert ended.returncode == 2
    found = {check["check"]: check for check in json.loads(ended.stdout)}
    assert found["servers"]["state"] == "warning"
    assert found["servers"]["facts"] == "all are up; these are disabled: localhost@files"
    assert "service enable" in found["servers"]["remedy"]
    assert found["database"]["remedy"] is None
    assert volume


def test_database_that_cannot_be_read_leaves_the_health_unknown(tmp_path: Path) -> None:
    file = configuration(tmp_path, f"sqlite:///{tmp_path / 'missing' / 'snapmanage.db'}")

    ended = run("snapmanage-manage", "--config-file", file, "health")

    assert ended.returncode == 1
    assert ended.stdout.startswith("unknown  database: its facts can't be read: ")
    assert "failed   broker: " in ended.stdout
    assert "Traceback" not in ended.stderr


def test_unfinished_operation_of_a_dead_server_is_found(standalone: Standalone) -> None:
    client = standalone.start()
    volume = register_volume(client)
    request_manage(client, volume, f"{VOLUME}@daily")
    standalone.end(signal.SIGKILL)
    with sqlite3.connect(standalone.folder / "snapmanage.db") as conn:
        conn.execute("UPDATE services SET heartbeat_at = datetime(heartbeat_at, '-300 seconds')")
    conn.close()

    ended = manage(standalone, "health")

    assert ended.returncode == 2
    assert "failed   servers: 1 of 1 are down: localhost@files (last heartbeat 30" in ended.stdout
