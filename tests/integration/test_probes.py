"""The probes of real processes, while their broker is down and their database hangs."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from snapmanage.testing import needs
from snapmanage.testing.services.daemon import Daemon
from snapmanage.testing.services.deployment import BACKEND, QUICK, SERVER, Deployment, configuration
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.process import free_port, running, unique
from snapmanage.testing.services.rabbitmq import PROGRAMS, RabbitMQ
from snapmanage.testing.waiting import until
from tests.services.network.wire import Wire, wire_to

MAINS = ("api", "volume", "audit", "relay")
HUNG_SECONDS = 2


@dataclass
class Processes:
    """The processes of a deployment with probes, each at a port of its own."""

    deployment: Deployment
    ready: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=lambda: {main: free_port() for main in MAINS})

    def start(self, main: str, *arguments: str) -> Daemon:
        listen = f"--health-listen=127.0.0.1:{self.ports[main]}"
        command = [str(Path(sys.executable).parent / f"snapmanage-{main}"), listen, *arguments]
        daemon = self.deployment.daemon(main, command)
        self.ready[main] = daemon.start()
        return daemon

    def ask(self, main: str, probe: str) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.ports[main]}/{probe}", timeout=20)

    def failed(self, main: str, probe: str = "readyz") -> set[str]:
        """Return the names of the checks that fail, after a comparison with the status."""
        answer = self.ask(main, probe)
        names = {line[3:].split(" ")[0] for line in answer.text.splitlines() if line.startswith("[-]")}
        assert answer.status_code == (503 if names else 200), answer.text
        return names

    def await_missing_broker(self, main: str) -> None:
        until(lambda: "broker" in self.failed(main), f"{main} to miss the broker")

    def await_failed(self, main: str, *names: str, probe: str = "readyz") -> None:
        until(lambda: set(names) == self.failed(main, probe), f"{main} to fail at {names}", 60)


@pytest.fixture(scope="module")
def broker() -> Iterator[RabbitMQ]:
    needs.require(*PROGRAMS)
    with running(RabbitMQ) as service:
        yield service


@pytest.fixture
def wire(mariadb: MariaDB) -> Iterator[Wire]:
    with wire_to(mariadb.port) as made:
        yield made


@pytest.fixture
def processes(tmp_path: Path, broker: RabbitMQ, mariadb: MariaDB, wire: Wire) -> Iterator[Processes]:
    (tmp_path / "pool").mkdir()
    database_url = mariadb.database().replace(f":{mariadb.port}/", f":{wire.port}/")
    more = f"{QUICK}\n[health]\nhung_seconds = {HUNG_SECONDS}\n"
    backends = {BACKEND: f"driver = file\ndirectory = {tmp_path}/pool"}
    default = f"transport_url = {broker.url}\nvolume_topic = {unique('volume')}"
    deployment = Deployment(tmp_path, configuration(backends, unique("exchange"), database_url, default, more))
    synced = deployment.manage("db", "sync")
    assert synced.returncode == 0, synced.stderr
    yield Processes(deployment)
    deployment.close()


def test_each_process_is_live_but_not_ready_while_the_broker_is_down(processes: Processes, broker: RabbitMQ) -> None:
    for main in MAINS:
        processes.start(main)
        processes.await_failed(main)

    broker.stop()

    for main in MAINS:
        processes.await_missing_broker(main)
        assert processes.failed(main, "livez") == set()
    assert any(each.startswith("consumer/") for each in processes.failed("volume"))

    broker.start()

    for main in MAINS:
        processes.await_failed(main)


@pytest.mark.parametrize("main", ["volume", "api"])
def test_process_whose_threads_hang_is_neither_live_nor_ready(processes: Processes, wire: Wire, main: str) -> None:
    processes.start(main)
    processes.await_failed(main)

    wire.hang()

    processes.await_failed(main, "threads", probe="livez")
    assert {"threads", "database"} <= processes.failed(main)
    wire.restore()
    processes.await_failed(main, probe="livez")
    processes.await_failed(main)


def test_supervisor_answers_for_its_workers(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with processes.deployment.configuration.open("a") as file:
        file.write("\n[api]\nworkers = 2\n")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    supervisor = processes.start("api")
    processes.await_failed("api")
    assert "[+]workers ok" in processes.ask("api", "readyz").text

    assert supervisor.stop() == 0
    assert not list(tmp_path.glob("snapmanage-probes-*"))


def test_backend_that_does_not_answer_is_named(processes: Processes) -> None:
    (processes.deployment.folder / "pool").rmdir()

    processes.start("volume")

    assert processes.ready["volume"] == f"ready: no backend is served yet; retrying {SERVER}"
    processes.await_failed("volume", f"backend/{SERVER}")
    assert processes.failed("volume", "livez") == set()
