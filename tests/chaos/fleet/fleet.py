"""A deployment for fault injection: API, relay, audit and servers, each a process.

Each machine reaches broker and database through proxies of its own, so a test can cut it off from either one without
the other machines.
"""

import json
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import kombu
import requests
import sqlalchemy as sa

from snapmanage.testing.services import warm
from snapmanage.testing.services.daemon import Daemon
from snapmanage.testing.services.deployment import PROJECT, VERSION
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.postgresql import PostgreSQL
from snapmanage.testing.services.process import LOOPBACK, free_port, unique
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.chaos.fleet import invariants
from tests.chaos.fleet.files import FileStorage, file_storage
from tests.chaos.fleet.machines import CONFIGURATION, CONTROL, Wires, machines
from tests.chaos.fleet.storage import VOLUME, Maker, Storage
from tests.services.network.wire import wire_to

BIN = Path(sys.executable).parent
Databases = MariaDB | PostgreSQL


class Fleet:
    """A deployment with one server process for each of `hosts`; processes named HOST/a and HOST/b share the host."""

    def __init__(
        self,
        folder: Path,
        broker: RabbitMQ,
        database: Databases,
        wires: Mapping[str, Wires],
        storages: Mapping[str, Storage],
        hosts: Sequence[str],
        more_brokers: Sequence[int] = (),
        max_attempts: int = 50,
    ) -> None:
        self.broker, self.database = broker, database
        self.wires, self.storages = wires, storages
        self.folder = folder
        self.max_attempts = max_attempts
        self.exchange = unique("exchange")
        self.more_brokers = more_brokers
        self.database_url = database.database()
        self.engine = sa.create_engine(self.database_url, isolation_level="READ COMMITTED", pool_pre_ping=True)
        self.url = f"http://{LOOPBACK}:{free_port()}"
        self.daemons: dict[str, Daemon] = {}
        self.promises: dict[str, str] = {}
        for machine in wires:
            self._configure(machine)
        for name in ("api", "relay", "audit"):
            self.daemons[name] = self.daemon(name, CONTROL)
        for name in hosts:
            self.daemons[name] = self.daemon("volume", name.partition("/")[0], name.replace("/", "-"))

    @property
    def servers(self) -> list[str]:
        """Return the names of the servers' processes."""
        return [name for name in self.daemons if name not in ("api", "relay", "audit")]

    def daemon(self, main: str, host: str, name: str = "", command: Sequence[str] = ()) -> Daemon:
        arguments = [
            *(command or [str(BIN / f"snapmanage-{main}")]),
            "--config-file",
            str(self.folder / f"{host}.conf"),
        ]
        log = self.folder / f"{name or main}.log"
        return Daemon(name or main, arguments, log, is_warm=warm.is_python(arguments))

    def start(self) -> None:
        """Start every process, and register a volume of each server."""
        assert self.daemon("manage", next(iter(self.storages))).run("db", "sync").returncode == 0
        for daemon in self.daemons.values():
            daemon.launch()
        for daemon in self.daemons.values():
            daemon.await_ready()
        self.volumes = {host: self.register(host) for host in self.storages}

    def revive(self, name: str) -> None:
        """Make a process serve again, as a supervisor does: start it until its start succeeds."""
        daemon = self.daemons[name]

        def serves() -> bool:
            if daemon.alive:
                return True
            daemon.launch()
            ready = daemon.next_line().startswith("ready")
            if not ready:
                daemon.await_exit()  # it has closed its output, but runs for another moment
            return ready

        until(serves, f"{name} to serve again", 90)

    @property
    def queues(self) -> list[str]:
        """Return the names of the durable queues."""
        topic, notified = f"{self.exchange}-volume", f"snapmanage-audit.{self.exchange}-notifications"
        own = [f"{topic}.{host}@pool" for host in self.storages]
        whole = [f"{topic}.{host}@pool.{host}" for host in self.storages]
        return [topic, *own, *whole, f"{notified}.info", f"{notified}.error"]

    def close(self) -> None:
        for daemon in self.daemons.values():
            daemon.close()
        self.engine.dispose()

    def request(
        self, path: str, body: Mapping[str, Any], key: str | None = None, project: str = PROJECT, method: str = "POST"
    ) -> Any:
        """Send one request and return its answer."""
        headers = VERSION | ({"Idempotency-Key": key} if key else {})
        return requests.request(method, f"{self.url}/v3/{project}{path}", json=body, headers=headers, timeout=10)

    def cast(
        self, host: str, source: str, snapshot_id: str, project: str = PROJECT, volume_id: str | None = None
    ) -> None:
        """Send the cast of an upstream API with records of its own; return when the broker has confirmed it."""
        known = {"snapshot_id": snapshot_id, "volume_id": volume_id or self.volumes[host]}
        arguments = known | {"ref": {"source-name": source}}
        content = {"method": "manage_snapshot", "args": arguments, "version": "1.0", "_unique_id": uuid.uuid4().hex}
        text = json.dumps(content | {"_context_project_id": project})
        self.publish(host, json.dumps({"oslo.version": "2.0", "oslo.message": text}).encode())

    def publish(self, host: str, body: bytes, suffix: str = "") -> None:
        """Send bytes to a server's queue."""
        self.send(f"{self.exchange}-volume.{host}@pool{suffix}", body)

    def send(self, queue: str, body: bytes) -> None:
        """Send bytes with a plain client, not through a wire; return when the broker has confirmed them."""
        options = {"confirm_publish": True}
        with kombu.Connection(self.broker.amqp_url, transport_options=options, connect_timeout=5) as connection:
            channel = connection.channel()
            message = channel.prepare_message(body, content_type="application/json", properties={"delivery_mode": 2})
            channel.basic_publish(message, self.exchange, queue, mandatory=True, timeout=10)

    def files(self, host: str) -> FileStorage:
        """Return the storage of a host that must be one of files, in which a test can make further volumes."""
        storage = self.storages[host]
        assert isinstance(storage, FileStorage), storage
        return storage

    def count(self, statement: str, **values: Any) -> int:
        """Return the result of a query for one number."""
        with self.engine.connect() as conn:
            return int(conn.execute(sa.text(statement), values).scalar_one())

    def deadlocks(self) -> int:
        """Return how many deadlocks the database has detected since its start."""
        query = {
            "mysql": "SELECT variable_value FROM information_schema.global_status"
            " WHERE variable_name = 'innodb_deadlocks'",
            "postgresql": "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
        }
        return self.count(query[self.engine.dialect.name])

    def known_ids(self) -> set[str]:
        """Return the ids of all snapshots with a record."""
        with self.engine.connect() as conn:
            return set(conn.execute(sa.text("SELECT id FROM snapshots")).scalars())

    def await_idle(self, seconds: float = 60) -> None:
        """Wait until no operation is in progress and the audit log has every event; fail on a violated invariant."""
        until(lambda: invariants.is_idle(self.engine), "the deployment to be idle", seconds)
        assert not self.violations_after(20)

    def violations_after(self, seconds: float) -> list[str]:
        """Return the violations that are left after `seconds`; return an empty list as soon as there are none.

        The last check counts, and no later one: a redelivered message has a row in `suspects` for a moment.
        """
        found: list[str] = []

        def holds() -> bool:
            found[:] = self.violations()
            return not found

        with suppress(AssertionError):
            until(holds, "the last events to be in the audit log", seconds)
        return found

    def violations(self) -> list[str]:
        """Return the present violations; events may still be on their way to the audit log."""
        observed = invariants.observe(self.engine, list(self.storages.values()))
        return invariants.violations(observed, self.promises)

    def await_saved_queues(self) -> None:
        until(lambda: all(map(self.broker.remembers, self.queues)), "the broker to save its queues", 60)

    def await_quarantined(self, body: bytes) -> None:
        """Wait until a message is in the quarantine exactly once."""
        query = "SELECT count(*) FROM quarantine WHERE body = :body"
        until(lambda: self.count(query, body=body) == 1, f"{body!r} to be in the quarantine")

    def _configure(self, host: str) -> None:
        brokers = [self.wires[host].to_broker.port, *self.more_brokers]
        first = next(iter(self.storages.values()))  # stands in the file of API, relay and audit, which have no storage
        to_database = self.wires[host].to_database.port
        text = CONFIGURATION.format(
            host=host,
            transport_url="rabbit://" + ",".join(f"guest:guest@{LOOPBACK}:{port}" for port in brokers) + "/",
            exchange=self.exchange,
            database_url=self.database_url.replace(f":{self.database.port}/", f":{to_database}/"),
            max_attempts=self.max_attempts,
            listen=self.url.removeprefix("http://"),
            section=self.storages.get(host, first).section,
        )
        (self.folder / f"{host}.conf").write_text(text)

    def register(self, host: str, volume: str = VOLUME, project: str = PROJECT) -> str:
        """Register a volume, and return its id once it is available."""
        body = {"volume": {"host": f"{host}@pool", "ref": {"source-name": volume}}}
        volume_id = str(self.request("/os-volume-manage", body, project=project).json()["volume"]["id"])
        query = "SELECT count(*) FROM volumes WHERE id = :id AND status = 'available'"
        until(lambda: self.count(query, id=volume_id) == 1, f"volume {volume} of {host} to be available")
        return volume_id


@contextmanager
def fleet(
    folder: Path,
    broker: RabbitMQ,
    database: Databases,
    hosts: Sequence[str],
    more_brokers: Sequence[int] = (),
    max_attempts: int = 50,
    storage: Maker = file_storage,
) -> Iterator[Fleet]:
    """Run a deployment, which may share its broker and its database with others.

    `more_brokers` are ports of further nodes of the broker's cluster; `storage` makes the backend of each server.
    """
    with ExitStack() as stack:
        wires = {
            machine: Wires(*(stack.enter_context(wire_to(service.port)) for service in (broker, database)))
            for machine in [CONTROL, *machines(hosts)]
        }
        storages = {host: stack.enter_context(storage(f"{host}@pool", folder / host)) for host in machines(hosts)}
        made = Fleet(folder, broker, database, wires, storages, hosts, more_brokers, max_attempts)
        stack.callback(made.close)
        made.start()
        yield made
