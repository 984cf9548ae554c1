"""The commands as a newcomer and an operator run them: real processes, real files, real signals."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from snapmanage.testing.services.deployment import Daemon
from snapmanage.testing.waiting import until
from tests.functional.world import PROJECT, Client

FOLDER = Path(sys.executable).parent
HOST = "localhost@files"
VOLUME = "disk1.img"
SNAPSHOTS = ("daily", "weekly", "monthly")
PATIENCE_SECONDS = 60


class Standalone:
    """`snapmanage standalone` on a folder; it may be started again after it ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.backend = folder / "backend"
        self.ready = ""
        self._stderr = folder.with_name("stderr")
        self._daemon: Daemon | None = None
        self._clients: list[Client] = []

    def start(self, is_warm: bool = True) -> Client:
        """Start it, warm or as it is installed, and return a client of the new process."""
        command = [str(FOLDER / "snapmanage"), "standalone", "--data-dir", str(self.folder), "--listen", "127.0.0.1:0"]
        self._daemon = Daemon("standalone", command, self._stderr, is_warm=is_warm)
        self.ready = self._daemon.start()
        self._clients.append(Client(self.ready.split()[1].removeprefix("http://").removesuffix("/v3"), version="3.8"))
        return self._clients[-1]

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        """Send a signal; exit code, and what it wrote on both outputs since it was ready."""
        assert self._daemon is not None
        self._daemon.send(number)
        out = self._daemon.rest()
        return self._daemon.ended(), out, self._stderr.read_text()

    def close(self) -> None:
        for client in self._clients:
            client.close()
        if self._daemon is not None:
            self._daemon.close()

    def files(self) -> set[str]:
        return {path.name for path in self.backend.iterdir()}


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[Standalone]:
    """A folder with a volume and its snapshots, not served yet."""
    made = Standalone(tmp_path / "data")
    made.backend.mkdir(parents=True)
    for name in (VOLUME, *(f"{VOLUME}@{snapshot}" for snapshot in SNAPSHOTS)):
        (made.backend / name).write_text(name)
    yield made
    made.close()


def run(
    command: str, *arguments: str | bytes | Path, is_warm: bool = True, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command: warm, where another test starts it as it is installed."""
    argv = [str(FOLDER / command), *map(os.fsdecode, arguments)]
    return Daemon(command, argv, Path(os.devnull), environment, is_warm).run()


def manage(standalone: Standalone, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """snapmanage-manage on what standalone left in its folder."""
    return run("snapmanage-manage", "--config-file", standalone.folder / "snapmanage.conf", *arguments)


def refusal(ended: "subprocess.CompletedProcess[str]") -> str:
    """The one line in which a command says why it can't."""
    assert (ended.returncode, ended.stdout) == (1, "")
    [line] = ended.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def registered(client: Client) -> str:
    """The id of the volume, registered and available."""
    volume_id: str = client.manage_volume(VOLUME, host=HOST).json()["volume"]["id"]
    until(lambda: client.volume(volume_id)["status"] == "available", "the volume to be available")
    return volume_id


def asked(client: Client, volume_id: str, source: str) -> str:
    snapshot_id: str = client.manage(volume_id, {"source-name": source}).json()["snapshot"]["id"]
    return snapshot_id


def settled(client: Client, snapshot_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        shown = client.snapshot(snapshot_id)
        return shown if shown["status"] in ("available", "error") else None

    return until(look, f"{snapshot_id} to be settled") or {}


def heard(standalone: Standalone, number: int) -> list[dict[str, Any]]:
    """The entries of the audit log, once there are so many: one verifies without what is still on its way."""

    def look() -> list[dict[str, Any]] | None:
        entries = [json.loads(line) for line in manage(standalone, "audit", "list").stdout.splitlines()]
        return entries if len(entries) >= number else None

    return until(look, f"{number} events to be in the audit log", PATIENCE_SECONDS) or []


# The newcomer's job.


def test_snapshot_that_exists_comes_under_management_and_goes_back(standalone: Standalone) -> None:
    client = standalone.start()
    assert re.fullmatch(r"ready: http://127\.0\.0\.1:\d+/v3 host: localhost@files", standalone.ready)

    volume = registered(client)
    listed = {entry["reference"]["source-name"] for entry in client.manageable(HOST)}
    snapshot_id = asked(client, volume, f"{VOLUME}@daily")

    assert listed == {f"{VOLUME}@{name}" for name in SNAPSHOTS}
    assert settled(client, snapshot_id)["status"] == "available"
    renamed = f"{VOLUME}@snapshot-{snapshot_id}"
    assert standalone.files() == {VOLUME, renamed, f"{VOLUME}@weekly", f"{VOLUME}@monthly"}
    assert (standalone.backend / renamed).read_text() == f"{VOLUME}@daily"

    client.unmanage(snapshot_id)

    until(lambda: client.get(f"snapshots/{snapshot_id}").status_code == 404, "the snapshot to be given back")
    assert standalone.files() == {VOLUME} | listed


def test_bad_reference_ends_in_error_and_both_ways_to_ask_say_why(standalone: Standalone) -> None:
    client = standalone.start()

    snapshot_id = asked(client, registered(client), f"{VOLUME}@nowhere")

    assert settled(client, snapshot_id)["status"] == "error"
    reason = client.operation(snapshot_id)["reason"]
    assert "nowhere" in reason
    assert [told["user_message"] for told in client.messages(snapshot_id)] == [f"manage snapshot: {reason}"]


def test_each_change_of_state_is_a_line_with_the_id_of_its_request(standalone: Standalone) -> None:
    client = standalone.start()
    made = client.manage(registered(client), f"{VOLUME}@daily")
    request_id, snapshot_id = made.headers["X-Openstack-Request-Id"], made.json()["snapshot"]["id"]

    def is_logged(line: str) -> bool:
        return re.search(line, (standalone.folder / "snapmanage.log").read_text()) is not None

    # Each is written after its change was committed, which clients may see before.
    for line in (
        rf"INFO .*{request_id}.* Snapshot {snapshot_id} is creating\.",
        rf"INFO .* Snapshot {snapshot_id} is available \({request_id}\)\.",
    ):
        until(partial(is_logged, line), line)


@pytest.mark.parametrize(("number", "is_warm"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_signal_ends_it_well_and_nothing_but_the_ready_line_was_said(
    standalone: Standalone, number: signal.Signals, is_warm: bool
) -> None:
    standalone.start(is_warm)

    assert standalone.end(number) == (0, "", "")


def test_started_again_it_goes_on_where_it_was(standalone: Standalone) -> None:
    client = standalone.start()
    volume = registered(client)
    first = asked(client, volume, f"{VOLUME}@daily")
    settled(client, first)
    standalone.end()

    again = standalone.start()

    assert again.snapshot(first)["status"] == "available"
    assert again.manage(volume, f"{VOLUME}@daily").status_code == 409
    assert settled(again, asked(again, volume, f"{VOLUME}@weekly"))["status"] == "available"


def test_killed_in_the_middle_and_started_again_everything_ends(standalone: Standalone) -> None:
    for number in range(40):
        (standalone.backend / f"{VOLUME}@n{number}").touch()
    client = standalone.start()
    volume = registered(client)
    made = [asked(client, volume, f"{VOLUME}@n{number}") for number in range(40)] + [asked(client, volume, "nowhere")]

    standalone.end(signal.SIGKILL)

    shorten_leases(standalone)
    again = standalone.start()
    statuses = [settled(again, snapshot_id)["status"] for snapshot_id in made]
    assert statuses == ["available"] * 40 + ["error"]
    assert {f"{VOLUME}@snapshot-{snapshot_id}" for snapshot_id in made[:40]} <= standalone.files()
    kinds = [entry["event_type"] for entry in heard(standalone, 82)]
    assert sorted(kinds) == sorted(
        ["snapshot.manage.start"] * 41 + ["snapshot.manage.end"] * 40 + ["snapshot.manage.error"]
    )
    assert manage(standalone, "audit", "verify").returncode == 0


def shorten_leases(standalone: Standalone) -> None:
    """Let the killed process's claims run out now, in place of waiting for it."""
    with closing(sqlite3.connect(standalone.folder / "snapmanage.db")) as database, database:
        for table in ("volumes", "snapshots"):
            database.execute(f"UPDATE {table} SET due_at = created_at WHERE due_at IS NOT NULL")


# What can't be.


def test_folder_is_served_once(standalone: Standalone) -> None:
    standalone.start()

    second = run("snapmanage", "standalone", "--data-dir", standalone.folder, "--listen", "127.0.0.1:0")

    assert "is served by another process already" in refusal(second)


@pytest.mark.parametrize(
    ("listen", "why"),
    [
        ("0.0.0.0:0", "listen must be a loopback address"),
        ("[::]:0", "listen must be a loopback address"),
        ("example.org:0", "listen must be a loopback address"),
        ("127.0.0.1", "must be HOST:PORT"),
        ("127.0.0.1:http", "must be HOST:PORT"),
        ("127.0.0.1:65536", "must be HOST:PORT"),
    ],
)
def test_addresses_that_are_not_served_are_told_in_a_line(tmp_path: Path, listen: str, why: str) -> None:
    ended = run("snapmanage", "standalone", "--data-dir", tmp_path / "data", "--listen", listen)

    assert why in refusal(ended)
    assert not (tmp_path / "data").exists()


def test_port_that_is_taken_is_told_in_a_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        ended = run("snapmanage", "standalone", "--data-dir", tmp_path, "--listen", address)

    assert f"can't listen on {address}" in refusal(ended)


@pytest.mark.parametrize("name", ["a file/data", "what?", "cost$"])
def test_folder_that_can_not_be_served_is_told_in_a_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "a file").touch()

    ended = run("snapmanage", "standalone", "--data-dir", tmp_path / name, "--listen", "127.0.0.1:0")

    assert name in refusal(ended)


def test_folder_may_have_spaces_and_signs_in_its_name(tmp_path: Path) -> None:
    odd = Standalone(tmp_path / "my #1 folder %s = 'ü'")
    try:
        client = odd.start()

        assert client.get("/healthcheck").status_code == 200
        assert (odd.folder / "snapmanage.db").exists()
        assert manage(odd, "audit", "verify").returncode == 0
    finally:
        odd.close()


def test_demo_tells_the_whole_story_and_leaves_nothing_behind(tmp_path: Path) -> None:
    ended = run("snapmanage", "demo", is_warm=False, TMPDIR=str(tmp_path))

    assert (ended.returncode, ended.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []
    for said in ("is available", "is error", "snapshot.manage.end", "snapshot.manage.error", "exit code 0"):
        assert said in ended.stdout


# The operator's command.


def test_audit_log_is_listed_and_verified(standalone: Standalone) -> None:
    client = standalone.start()
    volume = registered(client)
    first, second = (asked(client, volume, f"{VOLUME}@{name}") for name in ("daily", "nowhere"))
    settled(client, first)
    settled(client, second)

    entries = heard(standalone, 4)
    of_first = manage(standalone, "audit", "list", "--snapshot", first).stdout.splitlines()
    newest = manage(standalone, "audit", "list", "--limit", "1").stdout.splitlines()

    assert [entry["number"] for entry in entries] == [1, 2, 3, 4]
    assert {entry["snapshot_id"] for entry in entries} == {first, second}
    assert [json.loads(line)["event_type"] for line in of_first] == ["snapshot.manage.start", "snapshot.manage.end"]
    assert [json.loads(line)["number"] for line in newest] == [4]
    assert re.fullmatch(r"4 rows, head [0-9a-f]{64}\n", manage(standalone, "audit", "verify").stdout)


@pytest.mark.parametrize(
    ("tampering", "found"),
    [
        ("UPDATE audit SET content = replace(content, 'available', 'error') WHERE number = 2", "row 2 was changed"),
        ("DELETE FROM audit WHERE number = 1", "row 1 is missing"),
        ("DELETE FROM audit WHERE number = 4", "row 3 is the last, but the head says 4"),
    ],
)
def test_verifying_names_the_first_row_that_is_wrong(standalone: Standalone, tampering: str, found: str) -> None:
    client = standalone.start()
    volume = registered(client)
    for name in ("daily", "weekly"):
        settled(client, asked(client, volume, f"{VOLUME}@{name}"))
    standalone.end()
    with closing(sqlite3.connect(standalone.folder / "snapmanage.db")) as database, database:
        assert database.execute(tampering).rowcount == 1

    verified = manage(standalone, "audit", "verify")

    assert verified.returncode == 1
    assert f"BROKEN: {found}" in verified.stdout


def test_disabled_server_takes_no_requests_until_it_is_enabled(standalone: Standalone) -> None:
    client = standalone.start()
    volume = registered(client)

    assert manage(standalone, "service", "disable", HOST, "--reason", "new disks").returncode == 0
    refused = client.manage(volume, f"{VOLUME}@daily")
    listed = manage(standalone, "service", "list").stdout
    assert manage(standalone, "service", "enable", HOST).returncode == 0
    taken = client.manage(volume, f"{VOLUME}@daily")

    assert (refused.status_code, taken.status_code) == (400, 202)
    assert re.fullmatch(rf"{HOST}  driver file  heartbeat \S+  disabled: new disks\n", listed)
    assert manage(standalone, "service", "list").stdout.endswith("  enabled\n")


def test_unknown_server_can_not_be_disabled(standalone: Standalone) -> None:
    standalone.start()

    assert "nobody@nowhere" in refusal(manage(standalone, "service", "disable", "nobody@nowhere", "--reason", "x"))


def test_limit_of_a_project_counts_at_once_in_both_directions(standalone: Standalone) -> None:
    client = standalone.start()
    volume = registered(client)
    settled(client, asked(client, volume, f"{VOLUME}@daily"))

    lowered = manage(standalone, "quota", "set", PROJECT, "--snapshots", "1")
    refused = client.manage(volume, f"{VOLUME}@weekly")
    raised = manage(standalone, "quota", "set", PROJECT, "--snapshots", "2", "--gigabytes", "-1")
    taken = client.manage(volume, f"{VOLUME}@weekly")
    unset = manage(standalone, "quota", "unset", PROJECT)
    unlimited = client.manage(volume, f"{VOLUME}@monthly")

    assert (refused.status_code, list(refused.json())) == (413, ["overLimit"])
    assert (taken.status_code, unlimited.status_code) == (202, 202)
    size = client.snapshot(taken.json()["snapshot"]["id"])["size"]
    assert lowered.stdout == (f"snapshots  limit 1  in use 1\ngigabytes  limit unlimited (default)  in use {size}\n")
    assert raised.stdout == f"snapshots  limit 2  in use 1\ngigabytes  limit unlimited  in use {size}\n"
    assert unset.stdout.startswith("snapshots  limit unlimited (default)  in use 2\n")


def test_limits_are_shown_with_the_configured_ones_where_a_project_has_none(tmp_path: Path) -> None:
    config = configuration(tmp_path, f"sqlite:///{tmp_path}/snapmanage.db")
    config.write_text(f"{config.read_text()}[quota]\nsnapshots = 7\n")

    def quota(*arguments: str) -> str:
        ended = run("snapmanage-manage", "--config-file", config, "quota", *arguments)
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout

    run("snapmanage-manage", "--config-file", config, "db", "sync")
    quota("set", "b", "--gigabytes", "0")
    quota("set", "a", "--snapshots", "3")
    quota("set", "a", "--gigabytes", "-1")
    quota("set", "gone", "--snapshots", "3")
    quota("unset", "gone")

    assert quota("list") == "a  snapshots 3  gigabytes unlimited\nb  snapshots default  gigabytes 0\n"
    assert quota("show", "b") == "snapshots  limit 7 (default)  in use 0\ngigabytes  limit 0  in use 0\n"
    assert quota("show", "gone").startswith("snapshots  limit 7 (default)  in use 0\n")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["set", PROJECT], "name a limit: --snapshots, --gigabytes or both"),
        (["set", "", "--snapshots", "1"], "1 to 255 characters"),
        (["set", "p" * 256, "--snapshots", "1"], "1 to 255 characters"),
        (["set", b"\xff", "--snapshots", "1"], "of Unicode"),
        (["show", ""], "1 to 255 characters"),
    ],
)
def test_quota_that_can_not_be_is_refused_in_a_line(tmp_path: Path, arguments: list[str], why: str) -> None:
    config = configuration(tmp_path, f"sqlite:///{tmp_path}/snapmanage.db")

    assert why in refusal(run("snapmanage-manage", "--config-file", config, "quota", *arguments))


@pytest.mark.parametrize("limit", ["-2", "2147483648", "\N{SUPERSCRIPT TWO}", "9" * 5000])
def test_limit_that_is_none_is_refused_and_the_range_is_named(tmp_path: Path, limit: str) -> None:
    config = configuration(tmp_path, f"sqlite:///{tmp_path}/snapmanage.db")

    ended = run("snapmanage-manage", "--config-file", config, "quota", "set", PROJECT, f"--gigabytes={limit}")

    assert (ended.returncode, ended.stdout) == (2, "")
    assert "argument --gigabytes: must be from 0 to 2147483647, or -1 for no limit" in ended.stderr


def test_schema_may_be_brought_up_to_date_twice(tmp_path: Path) -> None:
    config = configuration(tmp_path, f"sqlite:///{tmp_path}/snapmanage.db")

    first = run("snapmanage-manage", "--config-file", config, "db", "sync")
    second = run("snapmanage-manage", "--config-file", config, "db", "sync")

    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout == second.stdout == "The schema is current.\n"


def test_empty_database_says_what_to_run(tmp_path: Path) -> None:
    config = configuration(tmp_path, f"sqlite:///{tmp_path}/snapmanage.db")

    ended = run("snapmanage-manage", "--config-file", config, "audit", "verify")

    assert "run `snapmanage-manage db sync`" in refusal(ended)


@pytest.mark.parametrize(
    "url", ["", "nonsense", "sqlite:////nowhere/at/all.db", "mysql+pymysql://a:b@127.0.0.1:1/c", "mysql+nodriver://a/b"]
)
def test_database_that_can_not_be_used_is_told_in_a_line(tmp_path: Path, url: str) -> None:
    ended = run("snapmanage-manage", "--config-file", configuration(tmp_path, url), "service", "list")

    assert "database" in refusal(ended)


@pytest.mark.parametrize("command", ["snapmanage-manage", "snapmanage-volume", "snapmanage-api", "snapmanage-audit"])
def test_configuration_that_is_missing_or_garbled_is_told_in_a_line(tmp_path: Path, command: str) -> None:
    (tmp_path / "garbled.conf").write_text("garbage\n")
    rest = ["db", "sync"] if command == "snapmanage-manage" else []

    missing = run(command, "--config-file", tmp_path / "missing.conf", *rest)
    garbled = run(command, "--config-file", tmp_path / "garbled.conf", *rest)

    assert "missing.conf" in refusal(missing)
    assert "garbled.conf" in refusal(garbled)


@pytest.mark.parametrize("url", ["mysql+pymysql://u:s3cret@:x@db/x", "s3cret", "postgresql+psycopg://u:s3cret@db:x/x"])
def test_url_that_names_no_database_is_refused_and_its_password_not_told(tmp_path: Path, url: str) -> None:
    why = refusal(run("snapmanage-manage", "--config-file", configuration(tmp_path, url), "db", "sync"))

    assert "[database] connection is no URL of a database" in why
    assert "s3cret" not in why


@pytest.mark.parametrize("url", ["rabbit://u:s3cret@host:x/", "rabbit://u:s3cret@[::1/", "s3cret"])
def test_url_that_names_no_broker_is_refused_and_its_password_not_told(tmp_path: Path, url: str) -> None:
    file = configuration(tmp_path, f"sqlite:///{tmp_path}/snapmanage.db")
    file.write_text(f"[DEFAULT]\ntransport_url = {url}\n{file.read_text()}")

    why = refusal(run("snapmanage-relay", "--config-file", file))

    assert "transport_url" in why
    assert "rabbit://" in why
    assert "s3cret" not in why


def configuration(folder: Path, url: str) -> Path:
    file = folder / "snapmanage.conf"
    file.write_text(f"[database]\nconnection = {url}\n")
    return file
