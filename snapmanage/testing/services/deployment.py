"""snapmanage as it is deployed: API, server and audit, each a process that a test can start, stop and kill."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from snapmanage.testing.services import warm
from snapmanage.testing.services.daemon import Daemon
from snapmanage.testing.waiting import until

PROJECT = "0123456789abcdef0123456789abcdef"
BACKEND = "pool1"
HOST = "storage-1"
SERVER = f"{HOST}@{BACKEND}"
VERSION = {"OpenStack-API-Version": "volume 3.71"}

CONFIGURATION = """\
[DEFAULT]
host = {host}
enabled_backends = {backends}
control_exchange = {exchange}
{default}

[database]
connection = {database_url}

[api]
listen = 127.0.0.1:0
{more}
"""
# Pauses so short that a test need not wait for them.
QUICK = """
[operations]
lease_seconds = 2
scan_interval_seconds = 0.2
heartbeat_seconds = 1
retry_delay_seconds = 0.1
"""


@dataclass(frozen=True)
class Surroundings:
    """The environment of all processes: words in front of each command, and additional variables."""

    prefix: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


# The programs that start as warm processes; `warm` imports the modules of each.
WARM = ("api", "audit", "manage", "volume")


def configuration(
    backends: Mapping[str, str], exchange: str, database_url: str, default: str = "", more: str = QUICK
) -> str:
    """Return the configuration of a deployment.

    `backends` has the lines of each backend's section by its name, `default` those of the section `DEFAULT`, and `more`
    is further lines of the section `api`, or further sections.
    """
    text = CONFIGURATION.format(
        host=HOST,
        backends=", ".join(backends),
        exchange=exchange,
        default=default,
        database_url=database_url,
        more=more,
    )
    return text + "".join(f"\n[{name}]\n{lines}\n" for name, lines in backends.items())


class Deployment:
    """The processes by name, and a client of the API; `server` is the server of the one backend."""

    def __init__(
        self, folder: Path, configuration: str, server: str = SERVER, surroundings: Surroundings | None = None
    ) -> None:
        self.folder = folder
        self.server = server
        self.surroundings = surroundings or Surroundings()
        self.configuration = folder / "snapmanage.conf"
        self.configuration.write_text(configuration)
        self.daemons: dict[str, Daemon] = {}
        self.url = ""

    def daemon(self, name: str, command: Sequence[str] | None = None) -> Daemon:
        """Return the process of a program such as `volume`, or of another command with the same arguments."""
        program = command or [*self.surroundings.prefix, str(Path(sys.executable).parent / f"snapmanage-{name}")]
        arguments = [*program, "--config-file", str(self.configuration)]
        self.daemons[name] = self._daemon(name, arguments)
        return self.daemons[name]

    def manage(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run `snapmanage-manage` with arguments."""
        program = str(Path(sys.executable).parent / "snapmanage-manage")
        command = [*self.surroundings.prefix, program, "--config-file", str(self.configuration)]
        return self._daemon("manage", command).run(*arguments)

    def _daemon(self, name: str, arguments: Sequence[str]) -> Daemon:
        """Return the process of a command: a warm one if `WARM` has the command and it has no prefix."""
        is_warm = name in WARM and warm.is_python(arguments)
        return Daemon(name, arguments, self.folder / f"{name}.log", self.surroundings.environment, is_warm)

    def start(self) -> None:
        """Migrate the database, then start server, API and audit."""
        synced = self.manage("db", "sync")
        assert synced.returncode == 0, synced.stderr
        for name in ("audit", "volume", "api"):
            line = self.daemon(name).start()
        self.url = f"{line.split()[1]}/{PROJECT}"
        # The process prints its ready line after ten seconds at most, even if the driver is still being imported.
        log = self.folder / "volume.log"
        until(lambda: f"Serving a backend: backend={self.server}" in log.read_text(), f"{self.server} to be served", 60)

    def close(self) -> None:
        for daemon in self.daemons.values():
            daemon.close()

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send a POST and return the body of the answer; fail unless it is a success."""
        return self._checked(requests.post(f"{self.url}{path}", json=body, headers=VERSION, timeout=30))

    def get(self, path: str) -> Any:
        return self._checked(requests.get(f"{self.url}{path}", headers=VERSION, timeout=30))

    def register(self, volume: str) -> str:
        """Register a backend volume, and return its id once it is available."""
        body = {"volume": {"host": self.server, "ref": {"source-name": volume}}}
        volume_id = str(self.post("/os-volume-manage", body)["volume"]["id"])
        until(
            lambda: self.get(f"/volumes/{volume_id}")["volume"]["status"] == "available",
            f"volume {volume} to be available",
        )
        return volume_id

    def request_manage(self, volume_id: str, source: str) -> str:
        """Request to manage a snapshot, and return its id."""
        body = {"snapshot": {"volume_id": volume_id, "ref": {"source-name": source}}}
        return str(self.post("/os-snapshot-manage", body)["snapshot"]["id"])

    def await_settled(self, snapshot_id: str) -> str:
        """Wait until the operation is settled, and return the status."""

        def final_status() -> str:
            status = str(self.get(f"/snapshots/{snapshot_id}")["snapshot"]["status"])
            return status if status in ("available", "error") else ""

        return until(final_status, f"snapshot {snapshot_id} to be settled")

    def unmanage(self, snapshot_id: str) -> None:
        """Request to unmanage a snapshot, and wait until the API no longer shows it."""
        self.post(f"/snapshots/{snapshot_id}/action", {"os-unmanage": {}})
        address = f"{self.url}/snapshots/{snapshot_id}"
        until(
            lambda: requests.get(address, headers=VERSION, timeout=30).status_code == 404, f"{snapshot_id} to be gone"
        )

    def audited_events(self, snapshot_id: str, last: str) -> list[dict[str, Any]]:
        """Return the snapshot's events in the audit log, once one of the type `last` is there."""

        def events() -> list[dict[str, Any]]:
            audited: list[dict[str, Any]] = self.get(f"/snapshots/{snapshot_id}/operation")["operation"]["events"]
            return audited if last in [event["event_type"] for event in audited] else []

        return until(events, f"{last} of {snapshot_id} in the audit log")

    def _checked(self, answer: requests.Response) -> Any:
        assert answer.ok, f"{answer.status_code}: {answer.text}"
        return answer.json() if answer.content else None


@contextmanager
def deployed(
    folder: Path,
    transport_url: str,
    exchange: str,
    database_url: str,
    lines: str,
    backend: str = BACKEND,
    surroundings: Surroundings | None = None,
) -> Iterator[Deployment]:
    """Run a deployment with one backend, with `lines` in its section."""
    text = configuration({backend: lines}, exchange, database_url, f"transport_url = {transport_url}")
    deployment = Deployment(folder, text, f"{HOST}@{backend}", surroundings)
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.close()
