"""Run the commands of the page about adopting, as they are printed, against a running service."""

import os
import re
import subprocess
from pathlib import Path

from tests.integration.clients.service import BIN, HOST, SNAPSHOTS, Service
from tests.page_blocks import HOW_TO

COMMANDS = re.findall(r"^\$ (snapmanage .*)$", (HOW_TO / "adopt.md").read_text(), re.MULTILINE)
# They ask for a typed yes.
ASKING = ("snapmanage apply", "snapmanage undo")


def run(command: str, folder: Path, service: Service, programs: Path = BIN) -> str:
    """Run a command of the page with a shell, which finds the clients in the folder `programs`; return its output."""
    environment = {"PATH": f"{programs}:{os.defpath}", "OS_AUTH_TYPE": "none", "OS_ENDPOINT": service.endpoint}
    whole = f"{command} --yes" if command.startswith(ASKING) else command
    ended = subprocess.run(
        ["sh", "-c", whole], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, (command, ended.stderr)
    return ended.stdout


def test_commands_of_the_page_adopt_and_undo(service: Service, disk: str, tmp_path: Path, programs: Path) -> None:
    outputs = {command: run(command, tmp_path, service, programs) for command in COMMANDS}

    assert COMMANDS[0] == f"snapmanage list --host {HOST}"
    assert len(outputs) >= 10
    assert f"{disk}@daily" in outputs[COMMANDS[0]]
    assert (tmp_path / "report.html").is_file()
    assert service.names(disk) == set(SNAPSHOTS)


def test_plugin_of_openstack_lists_snapshots(service: Service, disk: str, tmp_path: Path) -> None:
    output = run(f"openstack snapshot adopt list --host {HOST} -f value -c Name", tmp_path, service)

    assert {f"{disk}@{name}" for name in SNAPSHOTS} <= set(output.split())
