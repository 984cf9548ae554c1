"""`snapmanage.wsgi:application`, as a WSGI server finds it: in a process of its own, since configuration is global."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from snapmanage.store import schema
from snapmanage.store.database import connect

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


def python(script: str, folder: Path, environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run a script where no configuration is found but what the environment names."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=known | {"HOME": str(folder)} | dict(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_import_reads_no_configuration_and_connects_nowhere(tmp_path: Path) -> None:
    named = {"OS_SNAPMANAGE_CONFIG_FILES": str(tmp_path / "missing.conf")}

    ended = python("import snapmanage.wsgi, sys; assert 'snapmanage.cmd' not in sys.modules", tmp_path, named)

    assert (ended.returncode, ended.stderr) == (0, "")


def test_first_request_without_a_configuration_says_what_is_missing(tmp_path: Path) -> None:
    ended = python(ASK, tmp_path, {})

    assert ended.returncode == 1
    assert "[database] connection is missing" in ended.stderr


def test_first_request_on_an_empty_database_says_what_to_run(tmp_path: Path) -> None:
    ended = python(ASK, tmp_path, configured(tmp_path))

    assert ended.returncode == 1
    assert "run `snapmanage-manage db sync`" in ended.stderr


@pytest.mark.parametrize("url", ["fake://", "kombu+memory:////"])
def test_bus_within_one_process_is_no_use_to_several(tmp_path: Path, url: str) -> None:
    ended = python(ASK, tmp_path, configured(tmp_path, url))

    assert ended.returncode == 1
    assert "use rabbit://" in ended.stderr


def test_several_files_are_read_and_the_first_request_is_answered(tmp_path: Path) -> None:
    environment = configured(tmp_path)
    files = environment["OS_SNAPMANAGE_CONFIG_FILES"].split(";")
    manage = "import sys; from snapmanage.cmd.manage import main; sys.exit(main())"
    options = [option for file in files for option in ("--config-file", file)]
    subprocess.run([sys.executable, "-c", manage, *options, "db", "sync"], check=True, capture_output=True, timeout=60)

    ended = python(ASK, tmp_path, environment)

    assert (ended.returncode, ended.stdout) == (0, "300 Multiple Choices\n"), ended.stderr


def test_stranger_is_not_served_without_authentication_wherever_the_server_listens(tmp_path: Path) -> None:
    environment = configured(tmp_path)
    database = connect(f"sqlite:///{tmp_path}/snapmanage.db")
    schema.sync(database.engine)
    database.close()
    stranger = 'environ = {"REMOTE_ADDR": "192.0.2.1", "PATH_INFO": "/v3/snapshots"}'

    ended = python(ASK.replace("environ = {}", stranger), tmp_path, environment)

    assert (ended.returncode, ended.stdout) == (0, "403 Forbidden\n"), ended.stderr


def configured(folder: Path, transport_url: str = "rabbit://guest:guest@127.0.0.1:1/") -> dict[str, str]:
    """An environment that names two files, of a database that is empty and a broker that isn't there."""
    first, second = folder / "bus.conf", folder / "database.conf"
    first.write_text(f"[DEFAULT]\ntransport_url = {transport_url}\n")
    second.write_text(f"[database]\nconnection = sqlite:///{folder}/snapmanage.db\n")
    return {"OS_SNAPMANAGE_CONFIG_FILES": f"{first};{second}"}
