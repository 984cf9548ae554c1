"""The commands of one machine, standalone and demo, with real processes, files and signals."""

import importlib.metadata
import os
import re
import signal
import socket
import sqlite3
import subprocess
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from snapmanage.testing.waiting import until
from tests.functional.cmd.programs import (
    FOLDER,
    HOST,
    SNAPSHOTS,
    VOLUME,
    Standalone,
    audit_entries,
    await_settled,
    manage,
    refusal,
    register_volume,
    request_manage,
    run,
)


def test_existing_snapshot_is_managed_and_unmanaged_again(standalone: Standalone) -> None:
    client = standalone.start()
    assert re.fullmatch(r"ready: http://127\.0\.0\.1:\d+/v3 host: localhost@files", standalone.ready)

    volume = register_volume(client)
    listed = {entry["reference"]["source-name"] for entry in client.manageable(HOST)}
    snapshot_id = request_manage(client, volume, f"{VOLUME}@daily")

    assert listed == {f"{VOLUME}@{name}" for name in SNAPSHOTS}
    assert await_settled(client, snapshot_id)["status"] == "available"
    renamed = f"{VOLUME}@snapshot-{snapshot_id}"
    assert standalone.files() == {VOLUME, renamed, f"{VOLUME}@weekly", f"{VOLUME}@monthly"}
    assert (standalone.backend / renamed).read_text() == f"{VOLUME}@daily"

    client.unmanage(snapshot_id)

    until(lambda: client.get(f"snapshots/{snapshot_id}").status_code == 404, "the snapshot to be unmanaged")
    assert standalone.files() == {VOLUME} | listed


def test_bad_reference_ends_in_error_and_operation_and_user_message_have_the_reason(standalone: Standalone) -> None:
    client = standalone.start()

    snapshot_id = request_manage(client, register_volume(client), f"{VOLUME}@nowhere")

    assert await_settled(client, snapshot_id)["status"] == "error"
    reason = client.operation(snapshot_id)["reason"]
    assert "nowhere" in reason
    assert [message["user_message"] for message in client.messages(snapshot_id)] == [f"manage snapshot: {reason}"]


def test_each_change_of_state_is_a_log_line_with_the_request_id(standalone: Standalone) -> None:
    client = standalone.start()
    made = client.manage(register_volume(client), f"{VOLUME}@daily")
    request_id, snapshot_id = made.headers["X-Openstack-Request-Id"], made.json()["snapshot"]["id"]

    def is_logged(line: str) -> bool:
        return re.search(line, (standalone.folder / "snapmanage.log").read_text()) is not None

    # A client may see a change before its line is written.
    for line in (
        rf"INFO .* Snapshot requested: snapshot={snapshot_id} .* status=creating request={request_id}\n",
        rf"INFO .* Snapshot managed: snapshot={snapshot_id} .* status=available request={request_id} .*\n",
    ):
        until(partial(is_logged, line), line)


@pytest.mark.parametrize(("number", "is_warm"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_signal_ends_it_with_exit_code_0_and_it_printed_only_the_ready_line(
    standalone: Standalone, number: signal.Signals, is_warm: bool
) -> None:
    standalone.start(is_warm)

    assert standalone.end(number) == (0, "", "")


def test_snapshots_stay_managed_after_a_restart(standalone: Standalone) -> None:
    client = standalone.start()
    volume = register_volume(client)
    first = request_manage(client, volume, f"{VOLUME}@daily")
    await_settled(client, first)
    standalone.end()

    again = standalone.start()

    assert again.snapshot(first)["status"] == "available"
    assert again.manage(volume, f"{VOLUME}@daily").status_code == 409
    assert await_settled(again, request_manage(again, volume, f"{VOLUME}@weekly"))["status"] == "available"


def test_every_operation_ends_after_a_kill_and_a_restart(standalone: Standalone) -> None:
    for number in range(40):
        (standalone.backend / f"{VOLUME}@n{number}").touch()
    client = standalone.start()
    volume = register_volume(client)
    made = [request_manage(client, volume, f"{VOLUME}@n{number}") for number in range(40)] + [
        request_manage(client, volume, "nowhere")
    ]

    standalone.end(signal.SIGKILL)

    shorten_leases(standalone)
    again = standalone.start()
    statuses = [await_settled(again, snapshot_id)["status"] for snapshot_id in made]
    assert statuses == ["available"] * 40 + ["error"]
    assert {f"{VOLUME}@snapshot-{snapshot_id}" for snapshot_id in made[:40]} <= standalone.files()
    kinds = [entry["event_type"] for entry in audit_entries(standalone, 82)]
    assert sorted(kinds) == sorted(
        ["snapshot.manage.start"] * 41 + ["snapshot.manage.end"] * 40 + ["snapshot.manage.error"]
    )
    assert manage(standalone, "audit", "verify").returncode == 0


def shorten_leases(standalone: Standalone) -> None:
    """Expire the claims of the killed process at once, instead of waiting for them."""
    with closing(sqlite3.connect(standalone.folder / "snapmanage.db")) as database, database:
        for table in ("volumes", "snapshots"):
            database.execute(f"UPDATE {table} SET due_at = created_at WHERE due_at IS NOT NULL")


def test_folder_that_another_process_serves_is_refused(standalone: Standalone) -> None:
    standalone.start()

    second = run("snapmanage", "standalone", "--data-dir", standalone.folder, "--listen", "127.0.0.1:0")

    assert "another process serves" in refusal(second)


@pytest.mark.parametrize(
    ("listen", "why"),
    [
        ("0.0.0.0:0", "must be a loopback address"),
        ("[::]:0", "must be a loopback address"),
        ("example.org:0", "must be a loopback address"),
        ("127.0.0.1", "must be HOST:PORT"),
        ("127.0.0.1:http", "must be HOST:PORT"),
        ("127.0.0.1:65536", "must be HOST:PORT"),
    ],
)
def test_address_that_can_not_be_served_is_refused_in_one_line(tmp_path: Path, listen: str, why: str) -> None:
    ended = run("snapmanage", "standalone", "--data-dir", tmp_path / "data", "--listen", listen)

    assert why in refusal(ended)
    assert not (tmp_path / "data").exists()


def test_port_in_use_is_refused_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        ended = run("snapmanage", "standalone", "--data-dir", tmp_path, "--listen", address)

    assert f"can't listen on {address}" in refusal(ended)


@pytest.mark.parametrize("name", ["a file/data", "what?", "cost$"])
def test_folder_that_can_not_be_served_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "a file").touch()

    ended = run("snapmanage", "standalone", "--data-dir", tmp_path / name, "--listen", "127.0.0.1:0")

    assert name in refusal(ended)


def test_folder_may_have_spaces_and_punctuation_in_its_name(tmp_path: Path) -> None:
    odd = Standalone(tmp_path / "my #1 folder %s = 'ü'")
    try:
        client = odd.start()

        assert client.get("/healthcheck").status_code == 200
        assert (odd.folder / "snapmanage.db").exists()
        assert manage(odd, "audit", "verify").returncode == 0
    finally:
        odd.close()


def test_demo_shows_each_step_and_removes_its_folder(tmp_path: Path) -> None:
    ended = run("snapmanage", "demo", is_warm=False, TMPDIR=str(tmp_path))

    assert (ended.returncode, ended.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []
    for text in ("is available", "is error", "snapshot.manage.end", "snapshot.manage.error", "exit code 0"):
        assert text in ended.stdout


def test_demo_imports_nothing_from_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "oslo_config.py").write_text("raise SystemExit('code of another user')")

    command = [str(FOLDER / "snapmanage"), "demo"]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "scratch")}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)

    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("command", ["snapmanage", "snapmanage-manage", "snapmanage-api"])
def test_every_command_prints_its_version(command: str) -> None:
    ended = run(command, "--version")

    assert (ended.returncode, ended.stdout.strip()) == (0, importlib.metadata.version("snapmanage")), ended.stderr
