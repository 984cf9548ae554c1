"""A deployment to be hurt: API, relay, audit and servers as processes of their own, all behind wires.

Each machine reaches broker and database through proxies of its own, so that it can be cut off from either while
the others aren't.
"""

import json
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import kombu
import requests
import sqlalchemy as sa

from snapmanage.testing.services import warm
from snapmanage.testing.services.deployment import PROJECT, VERSION, Daemon
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.postgresql import PostgreSQL
from snapmanage.testing.services.process import LOOPBACK, free_port, unique
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.chaos import invariants
from tests.chaos.storage import VOLUME, Storage
from tests.services.wire import Wire, wire_to

BIN = Path(sys.executable).parent
Databases = MariaDB | PostgreSQL

CONFIGURATION = """\
[DEFAULT]
host = {host}
enabled_backends = pool
transport_url = {transport_url}
control_exchange = {exchange}
volume_topic = {exchange}-volume
notification_topics = {exchange}-notifications
[database]
connection = {database_url}
[api]
listen = {listen}
[operations]
lease_seconds = 1
max_attempts = {max_attempts}
scan_interval_seconds = 0.2
heartbeat_seconds = 0.5
retry_delay_seconds = 0.1
retry_max_delay_seconds = 1
[relay]
interval_seconds = 0.2
hold_seconds = 0.5
[quota]
snapshots = 1000000
gigabytes = 1000000
[pool]
driver = file
directory = {directory}
"""


# Where API, relay and audit run.
CONTROL = "control"


class Wires(NamedTuple):
    """How a machine reaches the services."""

    to_broker: Wire
    to_database: Wire


def machines(hosts: Sequence[str]) -> list[str]:
    """The hosts of servers' processes, each once."""
    return list(dict.fromkeys(name.partition("/")[0] for name in hosts))


class Fleet:
    """`hosts` names a process of a server each; the part before a slash is its host, so that two can serve one."""

    def __init__(
        self,
        folder: Path,
        broker: RabbitMQ,
        database: Databases,
        wires: Mapping[str, Wires],
        hosts: Sequence[str],
        more_brokers: Sequence[int] = (),
        max_attempts: int = 50,
    ) -> None:
        self.broker, self.database = broker, database
        self.wires = wires
        self.folder = folder
        self.max_attempts = max_attempts
        self.exchange = unique("exchange")
        self.more_brokers = more_brokers
        self.database_url = database.database()
        self.engine = sa.create_engine(self.database_url, isolation_level="READ COMMITTED", pool_pre_ping=True)
        self.url = f"http://{LOOPBACK}:{free_port()}"
        self.daemons: dict[str, Daemon] = {}
        self.storages: dict[str, Storage] = {}
        self.promises: dict[str, str] = {}
        for host in machines(hosts):
            self.storages[host] = Storage(f"{host}@pool", folder / host)
        for machine in wires:
            self._configure(machine)
        for name in ("api", "relay", "audit"):
            self.daemons[name] = self.daemon(name, CONTROL)
        for name in hosts:
            self.daemons[name] = self.daemon("volume", name.partition("/")[0], name.replace("/", "-"))

    @property
    def servers(self) -> list[str]:
        """The names of the servers' processes."""
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
        """Start it all, and register each server's volume."""
        assert self.daemon("manage", next(iter(self.storages))).run("db", "sync").returncode == 0
        for daemon in self.daemons.values():
            daemon.launch()
        for daemon in self.daemons.values():
            daemon.ready()
        self.volumes = {host: self.register(host) for host in self.storages}

    def revive(self, name: str) -> None:
        """Have a process serve again, as a supervisor does: one that can't start yet is started again."""
        daemon = self.daemons[name]

        def serves() -> bool:
            if daemon.alive:
                return True
            daemon.launch()
            ready = daemon.said().startswith("ready")
            if not ready:
                daemon.ended()  # it has closed its output, and lives on for a moment
            return ready

        until(serves, f"{name} to serve again", 90)

    @property
    def queues(self) -> list[str]:
        """Those that last."""
        topic, notified = f"{self.exchange}-volume", f"snapmanage-audit.{self.exchange}-notifications"
        own = [f"{topic}.{host}@pool" for host in self.storages]
        whole = [f"{topic}.{host}@pool.{host}" for host in self.storages]
        return [topic, *own, *whole, f"{notified}.info", f"{notified}.error"]

    def close(self) -> None:
        for daemon in self.daemons.values():
            daemon.close()
        self.engine.dispose()

    # What clients do.

    def request(self, path: str, body: Mapping[str, Any], key: str | None = None, project: str = PROJECT) -> Any:
        """One POST; its answer."""
        headers = VERSION | ({"Idempotency-Key": key} if key else {})
        return requests.post(f"{self.url}/v3/{project}{path}", json=body, headers=headers, timeout=10)

    def cast(self, host: str, source: str, snapshot_id: str) -> None:
        """What an upstream API with records of its own casts; returns when the broker has confirmed it."""
        arguments = {"snapshot_id": snapshot_id, "volume_id": self.volumes[host], "ref": {"source-name": source}}
        content = {"method": "manage_snapshot", "args": arguments, "version": "1.0", "_unique_id": uuid.uuid4().hex}
        text = json.dumps(content | {"_context_project_id": PROJECT})
        self.publish(host, json.dumps({"oslo.version": "2.0", "oslo.message": text}).encode())

    def publish(self, host: str, body: bytes, suffix: str = "") -> None:
        """Send bytes to a server."""
        self.send(f"{self.exchange}-volume.{host}@pool{suffix}", body)

    def send(self, queue: str, body: bytes) -> None:
        """Send bytes with a plain client, past the wires; returns when the broker has confirmed them."""
        options = {"confirm_publish": True}
        with kombu.Connection(self.broker.amqp_url, transport_options=options, connect_timeout=5) as connection:
            channel = connection.channel()
            message = channel.prepare_message(body, content_type="application/json", properties={"delivery_mode": 2})
            channel.basic_publish(message, self.exchange, queue, mandatory=True, timeout=10)

    # What became of it.

    def count(self, statement: str, **values: Any) -> int:
        """What a query of one number tells."""
        with self.engine.connect() as conn:
            return int(conn.execute(sa.text(statement), values).scalar_one())

    def deadlocks(self) -> int:
        """How many the database has found since it was started."""
        query = {
            "mysql": "SELECT variable_value FROM information_schema.global_status"
            " WHERE variable_name = 'innodb_deadlocks'",
            "postgresql": "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
        }
        return self.count(query[self.engine.dialect.name])

    def known(self) -> set[str]:
        """The ids of all snapshots that have a record."""
        with self.engine.connect() as conn:
            return set(conn.execute(sa.text("SELECT id FROM snapshots")).scalars())

    def rest(self, seconds: float = 60) -> None:
        """Wait until nothing is under way and all that was announced is in the audit log."""
        until(lambda: invariants.at_rest(self.engine), "the deployment to come to rest", seconds)
        assert not self.broken_in_the_end(20)

    def broken_in_the_end(self, seconds: float) -> list[str]:
        """What still doesn't hold after so long; nothing as soon as all does.

        The last look counts, and none is taken after it: a message that comes once more is suspected for a moment.
        """
        found: list[str] = []

        def holds() -> bool:
            found[:] = self.broken()
            return not found

        with suppress(AssertionError):
            until(holds, "the last events to be in the audit log", seconds)
        return found

    def broken(self) -> list[str]:
        """What doesn't hold at the moment; events may still be on their way to the audit log."""
        known = invariants.observe(self.engine, list(self.storages.values()))
        return invariants.violations(known, self.promises)

    def until_quarantined(self, body: bytes) -> None:
        """Wait until a message is in the quarantine, where it can be only once."""
        query = sa.text("SELECT count(*) FROM quarantine WHERE body = :body")

        def there() -> bool:
            with self.engine.connect() as conn:
                return bool(conn.execute(query, {"body": body}).scalar_one() == 1)

        until(there, f"{body!r} to be in the quarantine")

    def check_commands(self) -> None:
        """What snapmanage's own commands say: the audit log is whole, the quota is what is used."""
        manage = self.daemon("manage", next(iter(self.storages)))
        verified = manage.run("audit", "verify")
        assert verified.returncode == 0, verified.stdout
        used = sa.text(
            "SELECT count(*), coalesce(sum(size_gb), 0) FROM snapshots"
            " WHERE status = 'available' AND project_id = :project"
        )
        with self.engine.connect() as conn:
            wanted = [int(amount) for amount in conn.execute(used, {"project": PROJECT}).one()]
        shown = manage.run("quota", "show", PROJECT).stdout
        assert [int(line.rpartition(" in use ")[2]) for line in shown.splitlines()] == wanted, shown

    def _configure(self, host: str) -> None:
        brokers = [self.wires[host].to_broker.port, *self.more_brokers]
        to_database = self.wires[host].to_database.port
        text = CONFIGURATION.format(
            host=host,
            transport_url="rabbit://" + ",".join(f"guest:guest@{LOOPBACK}:{port}" for port in brokers) + "/",
            exchange=self.exchange,
            database_url=self.database_url.replace(f":{self.database.port}/", f":{to_database}/"),
            max_attempts=self.max_attempts,
            listen=self.url.removeprefix("http://"),
            directory=self.folder / host,
        )
        (self.folder / f"{host}.conf").write_text(text)

    def register(self, host: str, volume: str = VOLUME, project: str = PROJECT) -> str:
        """Register a volume, and return its id once it is available."""
        body = {"volume": {"host": f"{host}@pool", "ref": {"source-name": volume}}}
        volume_id = str(self.request("/os-volume-manage", body, project=project).json()["volume"]["id"])
        status = sa.text("SELECT status FROM volumes WHERE id = :id")

        def known() -> bool:
            with self.engine.connect() as conn:
                return bool(conn.execute(status, {"id": volume_id}).scalar_one() == "available")

        until(known, f"{volume} of {host}")
        return volume_id


@contextmanager
def fleet(
    folder: Path,
    broker: RabbitMQ,
    database: Databases,
    hosts: Sequence[str],
    more_brokers: Sequence[int] = (),
    max_attempts: int = 50,
) -> Iterator[Fleet]:
    """A running one; its broker and its database may be shared with others.

    `more_brokers` are ports of further nodes of the broker's cluster.
    """
    with ExitStack() as stack:
        wires = {
            machine: Wires(*(stack.enter_context(wire_to(service.port)) for service in (broker, database)))
            for machine in [CONTROL, *machines(hosts)]
        }
        made = Fleet(folder, broker, database, wires, hosts, more_brokers, max_attempts)
        stack.callback(made.close)
        made.start()
        yield made
