"""Cinder's volume service with a driver that answers at once, and requests to it."""

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks import machine
from benchmarks.world import Meter, World
from snapmanage.testing.services.process import Service, running, unique

INSIDE = Path(__file__).parent / "inside"
BACKEND = "null"
HOST = f"peer@{BACKEND}"
LONGEST_SECONDS = 1800
# Cinder waits for 30 s for a free connection to its database.
STUCK_SECONDS = 60
PAUSE_SECONDS = 0.1

# Cinder's defaults, except for names, the durable queues that snapmanage has too, and events on the wire.
CONFIGURATION = """\
[DEFAULT]
transport_url = {transport_url}
control_exchange = {exchange}
host = peer
enabled_backends = null
state_path = {folder}
[null]
volume_driver = null_driver.NullDriver
volume_backend_name = null
[database]
connection = {database}
[oslo_concurrency]
lock_path = {folder}
[oslo_messaging_rabbit]
rabbit_quorum_queue = true
[oslo_messaging_notifications]
driver = messagingv2
"""


class Missing(Exception):
    """A part of the set-up is missing or unusable; the text has the reason and the remedy."""


def version(python: Path) -> str:
    """Return the version of the Cinder of an interpreter; raise `Missing` if it has none."""
    remedy = "`make bench-peer` makes an environment with Cinder where its folder PEER is missing"
    if not python.exists():
        raise Missing(f"there is no interpreter {python}: {remedy}")
    program = "from importlib.metadata import version; import cinder.cmd.manage, pymysql; print(version('cinder'))"
    ended = subprocess.run([python, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise Missing(f"{python} has no usable Cinder: {remedy}; it printed:\n{ended.stderr[-2000:]}")
    return ended.stdout.split()[-1]


class CinderVolume(Service):
    """cinder-volume of an environment of its own, on a database of its own."""

    as_nobody = False  # the user `nobody` may not be allowed to read the virtual environment

    def __init__(self, folder: Path, python: Path, world: World) -> None:
        super().__init__(folder)
        self._python = python
        self._database = world.mariadb.database()
        self._engine = sa.create_engine(self._database)
        self._exchange = unique("peer")
        self._transport_url = world.rabbitmq.url
        self.configuration = folder / "cinder.conf"

    def prepare(self) -> None:
        text = CONFIGURATION.format(
            transport_url=self._transport_url, exchange=self._exchange, folder=self.folder, database=self._database
        )
        self.configuration.write_text(text)
        self.run([self._program("cinder-manage"), "--config-file", self.configuration, "db", "sync"])

    def command(self) -> Sequence[str | Path]:
        return [self._program("cinder-volume"), "--config-file", self.configuration]

    def environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(INSIDE), "PYTHONWARNINGS": "ignore"}

    def answers(self) -> bool:
        """Return whether the service has initialized its driver: it then reports that it is alive."""
        return self.count("services WHERE `binary` = 'cinder-volume' AND report_count > 0") == 1

    def count(self, rows: str) -> int:
        with self._engine.connect() as connection:
            return int(connection.execute(sa.text(f"SELECT COUNT(*) FROM {rows}")).scalar_one())

    @contextmanager
    def requests(self, count: int) -> Iterator[None]:
        """Write snapshots into the database, and cast their requests at the end of the block."""
        command: list[str | Path] = [self._python, "-W", "ignore", "-P", INSIDE / "casts.py"]
        command += [self.configuration, HOST, str(count)]
        log = self.folder / "casts.log"
        with (
            log.open("w") as errors,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            ) as program,
        ):
            assert program.stdout
            assert program.stdout.readline() == "ready\n", f"Cinder can't write snapshots:\n{log.read_text()[-3000:]}"
            yield
            program.communicate("cast\n", timeout=LONGEST_SECONDS)
        assert program.returncode == 0, f"Cinder's casts failed:\n{log.read_text()[-3000:]}"

    def close(self) -> None:
        super().close()
        self._engine.dispose()

    def _program(self, name: str) -> Path:
        return self._python.parent / name


def run(world: World, python: Path, operations: int) -> dict[str, Any]:
    """Queue casts while the service is frozen, and measure it until the last snapshot is `available`.

    Cinder leaves a snapshot `creating` if a connection to the database is free too late; these don't count.
    """
    with running(lambda folder: CinderVolume(folder, python, world)) as service:
        with service.requests(operations):
            service.freeze()
        meter = Meter(world, {"cinder": [service.pid]})
        service.thaw()
        done, seconds = _await_end(service, operations)
        assert done, f"Cinder carried out no request:\n{service.log_tail(100)}"
        figures = meter.read(done, seconds)
        return figures | {"left_creating": operations - done, "peak_mb": machine.memory_mb(service.pid, "VmHWM")}


def _await_end(service: CinderVolume, operations: int) -> tuple[int, float]:
    """Return the number of available snapshots, and the seconds until the last one; stop when none follows."""
    started = changed = time.monotonic()
    done = 0
    while done < operations and time.monotonic() - changed < STUCK_SECONDS:
        time.sleep(PAUSE_SECONDS)
        available = service.count("snapshots WHERE status = 'available'")
        if available > done:
            done, changed = available, time.monotonic()
    return done, changed - started
