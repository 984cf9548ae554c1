"""snapmanage as it is deployed: API, server and audit as processes of their own, started, hurt and stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import requests

from snapmanage.testing.services import warm
from snapmanage.testing.waiting import until

PROJECT = "0123456789abcdef0123456789abcdef"
BACKEND = "pool1"
HOST = "storage-1"
SERVER = f"{HOST}@{BACKEND}"

CONFIGURATION = """\
[DEFAULT]
host = {host}
enabled_backends = {backend}
transport_url = {transport_url}
control_exchange = {exchange}

[database]
connection = {database_url}

[api]
listen = 127.0.0.1:0

[operations]
lease_seconds = 2
scan_interval_seconds = 0.2
heartbeat_seconds = 1
retry_delay_seconds = 0.1

[{backend}]
{backend_options}
"""


COMMAND_SECONDS = 60


class Daemon:
    """One process of snapmanage; its log is for whoever looks into a failure.

    A warm one has its imports done before it starts.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        is_warm: bool = False,
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._environment = os.environ | dict(environment or {})
        self._kind: Callable[..., subprocess.Popen[str] | warm.Process]
        self._kind = warm.Process if is_warm else subprocess.Popen
        self._process: subprocess.Popen[str] | warm.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run it as a command, and return its outputs and exit status; kill it after `COMMAND_SECONDS`."""
        argv = [*self._command, *arguments]
        with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
            process = self._kind(argv, stdout=out, stderr=err, text=True, env=self._environment)
            try:
                code = process.wait(COMMAND_SECONDS)
            finally:
                process.kill()
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(argv, code, out.read(), err.read())

    def launch(self, environment: Mapping[str, str] | None = None) -> None:
        """Start it, with more in its environment, and don't wait for it."""
        self.close()
        with self.log.open("a") as log:
            self._process = self._kind(
                self._command,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environment | dict(environment or {}),
            )

    def start(self, environment: Mapping[str, str] | None = None) -> str:
        """Start it, and return the line with which it says that it is ready."""
        self.launch(environment)
        return self.ready()

    def ready(self) -> str:
        """Wait for that line of a process that was launched."""
        line = self.said()
        assert line.startswith("ready"), f"{self.name} didn't start:\n{self.log.read_text()[-3000:]}"
        return line

    def said(self) -> str:
        """The next line that it says; none where it has ended."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def rest(self) -> str:
        """Read the output until the process ends or closes it, and return it."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.read()

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.send(signal.SIGTERM)
        return self.ended()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self.ended()

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def close(self) -> None:
        """Leave nothing running."""
        if self.alive:
            self.kill()
        elif self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()

    def ended(self) -> int:
        """Wait until it is over, and return the exit code: of one that was killed, the signal's negative number."""
        assert self._process is not None
        assert self._process.stdout is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(30)
        status = self._process.poll()
        assert status is not None, f"{self.name} doesn't end:\n{self.log.read_text()[-3000:]}"
        self._process.stdout.close()
        return status


@dataclass(frozen=True)
class Surroundings:
    """What the processes run under: a command that starts theirs, and more in their environment."""

    prefix: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


WARM = ("api", "audit", "manage", "volume")


class Deployment:
    """Its processes by name, and a client of its API; `server` is that of the one backend."""

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
        """The process of a main such as `volume`, or of another command with the same arguments."""
        main = command or [*self.surroundings.prefix, str(Path(sys.executable).parent / f"snapmanage-{name}")]
        arguments = [*main, "--config-file", str(self.configuration)]
        self.daemons[name] = self._daemon(name, arguments)
        return self.daemons[name]

    def manage(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run snapmanage-manage."""
        program = str(Path(sys.executable).parent / "snapmanage-manage")
        command = [*self.surroundings.prefix, program, "--config-file", str(self.configuration)]
        return self._daemon("manage", command).run(*arguments)

    def _daemon(self, name: str, arguments: Sequence[str]) -> Daemon:
        """Return the process of a command: a warm one if `WARM` has the command and it has no prefix."""
        is_warm = name in WARM and warm.is_python(arguments)
        return Daemon(name, arguments, self.folder / f"{name}.log", self.surroundings.environment, is_warm)

    def start(self) -> None:
        """Bring the database up to date, then start server, API and audit."""
        synced = self.manage("db", "sync")
        assert synced.returncode == 0, synced.stderr
        for name in ("audit", "volume", "api"):
            line = self.daemon(name).start()
        self.url = f"{line.split()[1]}/{PROJECT}"
        # The process prints its ready line after ten seconds at most, even if the driver is still being imported.
        log = self.folder / "volume.log"
        until(lambda: f"Serving {self.server}." in log.read_text(), f"{self.server} to be served", 60)

    def close(self) -> None:
        for daemon in self.daemons.values():
            daemon.close()

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The body of the answer, which must be a success."""
        return self._checked(requests.post(f"{self.url}{path}", json=body, headers=VERSION, timeout=30))

    def get(self, path: str) -> Any:
        return self._checked(requests.get(f"{self.url}{path}", headers=VERSION, timeout=30))

    def register(self, volume: str) -> str:
        """Register a backend volume, and return its id once it is available."""
        body = {"volume": {"host": self.server, "ref": {"source-name": volume}}}
        volume_id = str(self.post("/os-volume-manage", body)["volume"]["id"])
        until(lambda: self.get(f"/volumes/{volume_id}")["volume"]["status"] == "available", f"volume {volume}")
        return volume_id

    def ask(self, volume_id: str, source: str) -> str:
        """Ask for a snapshot to be managed, and return its id."""
        body = {"snapshot": {"volume_id": volume_id, "ref": {"source-name": source}}}
        return str(self.post("/os-snapshot-manage", body)["snapshot"]["id"])

    def settled(self, snapshot_id: str) -> str:
        """Wait until the operation is over, and return the status."""

        def status() -> str:
            now = str(self.get(f"/snapshots/{snapshot_id}")["snapshot"]["status"])
            return now if now in ("available", "error") else ""

        return until(status, f"snapshot {snapshot_id} to be settled")

    def give_back(self, snapshot_id: str) -> None:
        """Ask for a snapshot to be given back, and wait until no record shows any more."""
        self.post(f"/snapshots/{snapshot_id}/action", {"os-unmanage": {}})
        address = f"{self.url}/snapshots/{snapshot_id}"
        until(
            lambda: requests.get(address, headers=VERSION, timeout=30).status_code == 404, f"{snapshot_id} to be gone"
        )

    def trail(self, snapshot_id: str, ending: str) -> list[dict[str, Any]]:
        """The snapshot's events in the audit log, once one of the type `ending` is there."""

        def events() -> list[dict[str, Any]]:
            heard: list[dict[str, Any]] = self.get(f"/snapshots/{snapshot_id}/operation")["operation"]["events"]
            return heard if ending in [event["event_type"] for event in heard] else []

        return until(events, f"{ending} of {snapshot_id} in the audit log")

    def _checked(self, answer: requests.Response) -> Any:
        assert answer.ok, f"{answer.status_code}: {answer.text}"
        return answer.json() if answer.content else None


VERSION = {"OpenStack-API-Version": "volume 3.71"}


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
    """A running deployment with one backend, whose section holds `lines`."""
    settings = {"transport_url": transport_url, "exchange": exchange, "database_url": database_url}
    text = CONFIGURATION.format(host=HOST, backend=backend, backend_options=lines, **settings)
    deployment = Deployment(folder, text, f"{HOST}@{backend}", surroundings)
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.close()
