"""The commands as processes, and `snapmanage standalone` on a folder with a volume and snapshots."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from snapmanage.testing.services.daemon import Daemon
from snapmanage.testing.waiting import until
from tests.functional.client import Client

FOLDER = Path(sys.executable).parent
HOST = "localhost@files"
VOLUME = "disk1.img"
SNAPSHOTS = ("daily", "weekly", "monthly")
PATIENCE_SECONDS = 60


class Standalone:
    """`snapmanage standalone` on a folder; it can be started again after it ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.backend = folder / "backend"
        self.ready = ""
        self._stderr = folder.with_name("stderr")
        self._daemon: Daemon | None = None
        self._clients: list[Client] = []

    def start(self, is_warm: bool = True) -> Client:
        """Start it, in a warm or in a new interpreter, and return a client of the new process."""
        command = [str(FOLDER / "snapmanage"), "standalone", "--data-dir", str(self.folder), "--listen", "127.0.0.1:0"]
        self._daemon = Daemon("standalone", command, self._stderr, is_warm=is_warm)
        self.ready = self._daemon.start()
        self._clients.append(Client(self.ready.split()[1].removeprefix("http://").removesuffix("/v3"), version="3.8"))
        return self._clients[-1]

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        """Send a signal; return the exit code, and both outputs since the process was ready."""
        assert self._daemon is not None
        self._daemon.send(number)
        out = self._daemon.remaining_output()
        return self._daemon.await_exit(), out, self._stderr.read_text()

    def close(self) -> None:
        for client in self._clients:
            client.close()
        if self._daemon is not None:
            self._daemon.close()

    def files(self) -> set[str]:
        return {path.name for path in self.backend.iterdir()}


def run(
    command: str, *arguments: str | bytes | Path, is_warm: bool = True, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command, in a warm interpreter if another test starts the command in a new one."""
    argv = [str(FOLDER / command), *map(os.fsdecode, arguments)]
    return Daemon(command, argv, Path(os.devnull), environment, is_warm).run()


def manage(standalone: Standalone, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run snapmanage-manage with the configuration that standalone wrote into its folder."""
    return run("snapmanage-manage", "--config-file", standalone.folder / "snapmanage.conf", *arguments)


def listed(standalone: Standalone, *arguments: str) -> Any:
    """Return the JSON that a command prints with `-f json`."""
    return json.loads(manage(standalone, *arguments, "-f", "json").stdout)


def refusal(ended: "subprocess.CompletedProcess[str]") -> str:
    """Return the only line that a refused command prints, an error."""
    assert (ended.returncode, ended.stdout) == (1, "")
    [line] = ended.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def register_volume(client: Client) -> str:
    """Register the volume, and return its id once it is available."""
    volume_id: str = client.manage_volume(VOLUME, host=HOST).json()["volume"]["id"]
    until(lambda: client.volume(volume_id)["status"] == "available", "the volume to be available")
    return volume_id


def request_manage(client: Client, volume_id: str, source: str) -> str:
    snapshot_id: str = client.manage(volume_id, {"source-name": source}).json()["snapshot"]["id"]
    return snapshot_id


def await_settled(client: Client, snapshot_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        shown = client.snapshot(snapshot_id)
        return shown if shown["status"] in ("available", "error") else None

    return until(look, f"{snapshot_id} to be settled") or {}


def manage_snapshot(client: Client) -> str:
    """Register the volume, manage its snapshot `daily`, and return the snapshot's id."""
    snapshot_id = request_manage(client, register_volume(client), f"{VOLUME}@daily")
    assert await_settled(client, snapshot_id)["status"] == "available"
    return snapshot_id


def audit_entries(standalone: Standalone, number: int) -> list[dict[str, Any]]:
    """Return the entries of the audit log, once it has `number` of them."""

    def look() -> list[dict[str, Any]] | None:
        entries: list[dict[str, Any]] = listed(standalone, "audit", "list")
        return entries if len(entries) >= number else None

    return until(look, f"{number} events to be in the audit log", PATIENCE_SECONDS) or []


def configuration(folder: Path, url: str) -> Path:
    file = folder / "snapmanage.conf"
    file.write_text(f"[database]\nconnection = {url}\n")
    return file
