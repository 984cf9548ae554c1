"""`snapmanage.wsgi:application`, imported like a WSGI server does: in a separate process with its own configuration."""

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from snapmanage.testing.services.daemon import Daemon
from snapmanage.testing.services.process import free_port
from snapmanage.testing.waiting import until
from tests.functional.api.serving.raw import connected
from tests.functional.client import Client
from tests.functional.cmd.programs import run
from tests.functional.databases import sqlite

ASK = """
import sys
from wsgiref.util import setup_testing_defaults
from snapmanage.wsgi import application

environ = {}
setup_testing_defaults(environ)
answer = []
list(application(environ, lambda status, headers: answer.append(status)))
print(answer[0])
"""


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide every configuration that the test does not name."""
    for name in [name for name in os.environ if name.startswith("OS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def python(
    script: str, folder: Path, environment: Mapping[str, str], is_warm: bool = True
) -> "subprocess.CompletedProcess[str]":
    """Run a script in a separate process; with `warm` its imports are done already."""
    file = folder / "script.py"
    file.write_text(script)
    return Daemon("wsgi", [sys.executable, str(file)], Path(os.devnull), environment, is_warm).run()


def test_import_reads_no_configuration_and_connects_nowhere(tmp_path: Path) -> None:
    named = {"OS_SNAPMANAGE_CONFIG_FILES": str(tmp_path / "missing.conf")}

    ended = python("import snapmanage.wsgi, sys; assert 'snapmanage.cmd' not in sys.modules", tmp_path, named, False)

    assert (ended.returncode, ended.stderr) == (0, "")


def test_first_request_without_a_configuration_names_the_missing_option(tmp_path: Path) -> None:
    ended = python(ASK, tmp_path, {})

    assert ended.returncode == 1
    assert "[database] connection is missing" in ended.stderr


def test_first_request_on_an_empty_database_names_the_command_to_run(tmp_path: Path) -> None:
    ended = python(ASK, tmp_path, configured(tmp_path))

    assert ended.returncode == 1
    assert "run `snapmanage-manage db sync`" in ended.stderr


@pytest.mark.parametrize("url", ["fake://", "kombu+memory:////"])
def test_in_process_bus_is_refused_for_several_processes(tmp_path: Path, url: str) -> None:
    ended = python(ASK, tmp_path, configured(tmp_path, url))

    assert ended.returncode == 1
    assert "use rabbit://" in ended.stderr


def test_several_files_are_read_and_the_first_request_is_answered(tmp_path: Path) -> None:
    environment = configured(tmp_path)
    files = environment["OS_SNAPMANAGE_CONFIG_FILES"].split(";")
    options = [option for file in files for option in ("--config-file", file)]
    assert run("snapmanage-manage", *options, "db", "sync").returncode == 0

    ended = python(ASK, tmp_path, environment, is_warm=False)

    assert (ended.returncode, ended.stdout) == (0, "300 Multiple Choices\n"), ended.stderr


@pytest.mark.parametrize("peer", ['"REMOTE_ADDR": "192.0.2.1"', '"REMOTE_ADDR": ""', '"HTTP_VIA": "1.1 proxy"'])
def test_other_machine_unix_socket_or_proxy_is_refused_without_authentication_under_any_server(
    tmp_path: Path, peer: str
) -> None:
    environment = configured(tmp_path)
    sqlite(tmp_path)
    stranger = f'environ = {{"PATH_INFO": "/v3/snapshots", "REMOTE_ADDR": "127.0.0.1", {peer}}}'

    ended = python(ASK.replace("environ = {}", stranger), tmp_path, environment)

    assert (ended.returncode, ended.stdout) == (0, "403 Forbidden\n"), ended.stderr


SERVERS = {
    "gunicorn": ["gunicorn", "--bind", "{address}", "--threads", "2", "--worker-tmp-dir", "{folder}"],
    "waitress": ["waitress-serve", "--listen={address}"],
}


@pytest.mark.parametrize("name", SERVERS)
def test_other_servers_serve_the_application(tmp_path: Path, name: str) -> None:
    environment = configured(tmp_path)
    sqlite(tmp_path)
    address = f"127.0.0.1:{free_port()}"
    command, *options = [part.format(address=address, folder=tmp_path) for part in SERVERS[name]]
    arguments = [str(Path(sys.executable).with_name(command)), *options, "snapmanage.wsgi:application"]
    daemon = Daemon(name, arguments, tmp_path / "log", environment)
    daemon.launch()
    client = Client(address)
    try:
        until(lambda: not daemon.alive or is_open(address), f"{name} to listen", 60)

        answers = [client.get("/healthcheck"), client.get("snapshots"), client.post("os-snapshot-manage", json={})]
    finally:
        client.close()
        daemon.close()

    assert [answer.status_code for answer in answers] == [200, 200, 400], daemon.log.read_text()


def is_open(address: str) -> bool:
    with suppress(OSError), connected(address):
        return True
    return False


def configured(folder: Path, transport_url: str = "rabbit://guest:guest@127.0.0.1:1/") -> dict[str, str]:
    """Return an environment with two configuration files: for an empty database, and for a missing broker."""
    first, second = folder / "bus.conf", folder / "database.conf"
    first.write_text(f"[DEFAULT]\ntransport_url = {transport_url}\n")
    second.write_text(f"[database]\nconnection = sqlite:///{folder}/snapmanage.db\n")
    return {"OS_SNAPMANAGE_CONFIG_FILES": f"{first};{second}"}
