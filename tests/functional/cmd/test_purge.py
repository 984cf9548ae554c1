"""`snapmanage-manage purge`, beside a running deployment."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.functional.cmd.programs import (
    VOLUME,
    Standalone,
    await_settled,
    configuration,
    manage,
    manage_snapshot,
    refusal,
    register_volume,
    request_manage,
    run,
)

KINDS = ("--quarantine", "--tombstones", "--failed", "--messages", "--keys", "--suspects", "--services")
# Of each time that decides about an age, SQLite keeps a text.
OLD = "updated_at = datetime(updated_at, '-100 days'), step_at = datetime(step_at, '-100 days')"
SHIFT = f"UPDATE snapshots SET {OLD} WHERE status = 'error'"


def test_old_failed_snapshots_are_counted_then_deleted(standalone: Standalone) -> None:
    client = standalone.start()
    volume = register_volume(client)
    failed = request_manage(client, volume, f"{VOLUME}@nowhere")
    await_settled(client, failed)
    managed = request_manage(client, volume, f"{VOLUME}@daily")
    await_settled(client, managed)
    with closing(sqlite3.connect(standalone.folder / "snapmanage.db", timeout=60)) as database, database:
        assert database.execute(SHIFT).rowcount == 1

    dry = manage(standalone, "purge", "--failed", "--dry-run")
    shown = client.get(f"snapshots/{failed}").status_code
    real = manage(standalone, "purge", *KINDS, "--older-than", "30", "--limit", "10")

    assert (dry.returncode, dry.stdout) == (0, "failed records  would delete 1, with 1 user messages\n")
    assert shown == 200
    assert (real.returncode, real.stderr) == (0, "")
    assert real.stdout.splitlines() == [
        "quarantined messages  deleted 0",
        "tombstones  deleted 0",
        "failed records  deleted 1, with 1 user messages",
        "user messages  deleted 0",
        "idempotency keys  deleted 0",
        "counts of redelivered messages  deleted 0",
        "servers  deleted 0",
    ]
    assert client.get(f"snapshots/{failed}").status_code == 404
    assert client.snapshot(managed)["status"] == "available"


def test_records_that_are_kept_are_counted_with_the_reason_and_the_remedy(standalone: Standalone) -> None:
    manage_snapshot(standalone.start())
    standalone.end()
    with closing(sqlite3.connect(standalone.folder / "snapmanage.db")) as database, database:
        database.execute(f"UPDATE snapshots SET status = 'error', {OLD}")
        database.execute("UPDATE services SET heartbeat_at = datetime(heartbeat_at, '-100 days')")

    kept = manage(standalone, "purge", "--failed", "--services", "--gone", "localhost@files")

    assert kept.stdout.splitlines() == [
        "failed records  deleted 0",
        "failed records  kept 1: their objects may have the managed name; unmanage them first",
        "servers  deleted 0",
        "servers  kept 1: they have volumes or snapshots",
    ]


def test_purge_without_a_kind_is_refused(tmp_path: Path) -> None:
    config = configuration(tmp_path, f"sqlite:///{tmp_path}/snapmanage.db")

    assert "purge requires one of --quarantine, --tombstones" in refusal(
        run("snapmanage-manage", "--config-file", config, "purge")
    )


@pytest.mark.parametrize("days", ["29", "0", "-40", "40.5", "36501", "9" * 50, "\N{SUPERSCRIPT TWO}"])
def test_age_below_the_minimum_is_refused(tmp_path: Path, days: str) -> None:
    config = configuration(tmp_path, f"sqlite:///{tmp_path}/snapmanage.db")

    ended = run("snapmanage-manage", "--config-file", config, "purge", "--messages", f"--older-than={days}")

    assert ended.returncode == 2
    assert "argument --older-than: must be a number of days from 30 to 36500, not" in ended.stderr


def test_age_of_30_days_that_is_not_below_the_life_of_idempotency_keys_is_accepted(tmp_path: Path) -> None:
    config = configuration(tmp_path, f"sqlite:///{tmp_path}/snapmanage.db")
    config.write_text(f"{config.read_text()}[api]\nidempotency_key_ttl_seconds = {30 * 86400}\n")
    run("snapmanage-manage", "--config-file", config, "db", "sync")

    ended = run("snapmanage-manage", "--config-file", config, "purge", "--keys", "--older-than=30")

    assert ended.returncode == 0


def test_age_below_the_life_of_idempotency_keys_is_refused(tmp_path: Path) -> None:
    config = configuration(tmp_path, f"sqlite:///{tmp_path}/snapmanage.db")
    config.write_text(f"{config.read_text()}[api]\nidempotency_key_ttl_seconds = 8640000\n")
    run("snapmanage-manage", "--config-file", config, "db", "sync")

    refused = refusal(run("snapmanage-manage", "--config-file", config, "purge", "--tombstones"))

    assert "older than 100 days" in refused
