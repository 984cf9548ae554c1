"""Services and deployments of the benchmarks.

All parts have their default configuration, except for names and ports. Each deployment has a database and names on the
bus of its own, so a deployment finds no data of another one.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import kombu
import sqlalchemy as sa

from benchmarks import machine, seed
from snapmanage.bus import Publication, envelope
from snapmanage.bus.names import Names
from snapmanage.bus.rabbit.bus import Publisher
from snapmanage.bus.rabbit.declaring import declare
from snapmanage.bus.rabbit.topology import Topology
from snapmanage.core.outbox import Message
from snapmanage.store.engine.database import Database, connect
from snapmanage.testing.services.deployment import HOST, Deployment, configuration
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.process import running, scratch, unique
from snapmanage.testing.services.rabbitmq import RabbitMQ


class LargeMariaDB(MariaDB):
    """A MariaDB with memory for a million rows, like a dedicated server; each commit still waits for the disk."""

    def command(self) -> Sequence[str | Path]:
        return [*super().command(), "--innodb-buffer-pool-size=2G", "--innodb-log-file-size=512M"]


class World:
    """The services of one run."""

    def __init__(self, rabbitmq: RabbitMQ, mariadb: MariaDB) -> None:
        self.rabbitmq = rabbitmq
        self.mariadb = mariadb

    def installation(
        self, backend: str = "driver = fake", backends: int = 1, extra: str = "", database_url: str | None = None
    ) -> "Installation":
        """Return a new deployment; the section of each backend has the lines of `backend`.

        Its database is a new one of MariaDB unless `database_url` names another.
        """
        names = [f"pool{number}" for number in range(1, backends + 1)]
        return Installation(self, backend, names, extra, database_url or self.mariadb.database())


@contextmanager
def world() -> Iterator[World]:
    with running(RabbitMQ) as rabbitmq, running(LargeMariaDB) as mariadb:
        yield World(rabbitmq, mariadb)


class Installation:
    """One deployment: its database, its names on the bus and its processes; a context that ends them."""

    def __init__(self, world: World, backend: str, backends: Sequence[str], extra: str, database_url: str) -> None:
        self._world = world
        self._scratch = scratch()
        self.servers = [f"{HOST}@{name}" for name in backends]
        self.names = Names(unique("exchange"), unique("volume"), (unique("notifications"),))
        self.database_url = database_url
        self.db: Database = connect(self.database_url)
        default = f"transport_url = {world.rabbitmq.url}\nvolume_topic = {self.names.volume_topic}\n"
        default += f"notification_topics = {self.names.notification_topics[0]}"
        sections = dict.fromkeys(backends, backend)
        self._configuration = configuration(sections, self.names.exchange, database_url, default, more=extra)

    def __enter__(self) -> "Installation":
        self._processes = Deployment(self._scratch.__enter__(), self._configuration)
        synced = self._processes.manage("db", "sync")
        assert synced.returncode == 0, synced.stderr
        self._bus = kombu.Connection(self._world.rabbitmq.amqp_url)
        self._channel = self._bus.channel()
        self._topology = Topology(self.names.exchange, queue_names=self.names.queue_names())
        return self

    def __exit__(self, *exception: Any) -> None:
        self._processes.close()
        for key in {*self.names.event_keys(), *(q for s in self.servers for q in self.names.server_queues(s))}:
            for queue in (self._topology.name(key), self._topology.dead_letter_name(key)):
                self._channel.queue_delete(queue)
        self._bus.close()
        self.db.close()
        self._scratch.__exit__(*exception)

    def start(self, main: str, number: int = 1, command: Sequence[str] = ()) -> tuple[int, str]:
        """Start `snapmanage-<main>`, or `command`; return its process id and its ready line."""
        usual = [str(Path(sys.executable).parent / f"snapmanage-{main}")]
        daemon = self._processes.daemon(f"{main}-{number}", command or usual)
        line = daemon.start()
        return daemon.pid, line

    def alive(self, main: str, number: int = 1) -> bool:
        return self._processes.daemons[f"{main}-{number}"].alive

    def stop(self, main: str, number: int = 1) -> None:
        self._processes.daemons[f"{main}-{number}"].stop()

    def seed_volumes(self) -> dict[str, str]:
        """Register the volume of each server's fake backend; return the ids by server."""
        with self.db.engine.begin() as conn:
            return {server: seed.add_volume(conn, server) for server in self.servers}

    def request(self, count: int) -> list[Message]:
        """Write `count` requests like the API, distributed over the servers; return their casts."""
        volumes = self.seed_volumes()
        with self.db.engine.begin() as conn:
            each = count // len(self.servers)
            return [cast for server in self.servers for cast in seed.add_requests(conn, server, volumes[server], each)]

    def age(self, count: int) -> None:
        """Write older rows; see `seed.add_history`."""
        with self.db.engine.connect() as conn:
            seed.add_history(conn, self.servers[0], seed.derived_id(self.servers[0], seed.VOLUME), count)

    def describe(self, count: int) -> list[Message]:
        """Return casts of an upstream API to the first server; each describes its snapshot completely."""
        server = self.servers[0]
        return seed.described_casts(server, self.seed_volumes()[server], count)

    def queue(self, casts: Sequence[Message]) -> None:
        """Send casts to the queues of their servers."""
        publisher = Publisher(lambda heartbeat: kombu.Connection(self._world.rabbitmq.amqp_url), self._topology)
        now = seed.CREATED_AT
        publications = [one for cast in casts for one in envelope.publications(cast, self.names, now)]
        for start in range(0, len(publications), 500):
            batch = [Publication(each.message_id, each.routing_key, each.body) for each in publications[start:][:500]]
            assert len(publisher.send(batch)) == len(batch)
        publisher.close()

    def prepare_events(self) -> None:
        """Declare the queues of events, so that no event is published before its queue exists."""
        self._declare(self.names.event_keys())

    def prepare_servers(self) -> None:
        """Declare the queues of servers that start later."""
        self._declare([queue for server in self.servers for queue in self.names.server_queues(server)])

    def events(self) -> int:
        """Return the number of events in the queues."""
        return sum(self._channel.queue_declare(queue, passive=True).message_count for queue in self._event_queues())

    def event_types(self) -> dict[str, int]:
        """Receive all events, and count the distinct ones by type."""
        types: dict[str, str] = {}

        def receive(message: Any) -> None:
            event = json.loads(json.loads(message.body)["oslo.message"])
            types[event["payload"]["event_id"]] = event["event_type"]

        with kombu.Connection(self._world.rabbitmq.amqp_url) as bus, suppress(TimeoutError):
            for queue in self._event_queues():
                bus.default_channel.basic_consume(queue, no_ack=True, callback=receive)
            while True:
                bus.drain_events(timeout=1)
        return {kind: list(types.values()).count(kind) for kind in sorted(set(types.values()))}

    def count(self, query: str) -> int:
        with self.db.read() as conn:
            return int(conn.execute(sa.text(query)).scalar_one())

    def _declare(self, keys: Sequence[str]) -> None:
        for key in keys:
            declare(self._bus, self._topology, key)

    def _event_queues(self) -> list[str]:
        return list(self.names.queue_names().values())


class Meter:
    """Measures a period of time: seconds, processor time by process, statements and commits."""

    def __init__(self, world: World, processes: Mapping[str, Sequence[int]]) -> None:
        self._world = world
        self._processes = {**processes, "mariadb": [world.mariadb.pid], "rabbitmq": [world.rabbitmq.pid]}
        self._cpu = self._used()
        self._status = statements(world)
        self._started = time.monotonic()

    def read(self, operations: int, seconds: float | None = None) -> dict[str, Any]:
        elapsed = time.monotonic() - self._started if seconds is None else seconds
        used = {name: now - self._cpu[name] for name, now in self._used().items()}
        status = {name: now - self._status[name] for name, now in statements(self._world).items()}
        return {
            "operations": operations,
            "seconds": round(elapsed, 2),
            "per_second": round(operations / elapsed, 1),
            "cpu_ms": {name: round(1000 * seconds / operations, 3) for name, seconds in used.items()},
            "statements": round(status["Questions"] / operations, 2),
            "commits": round(status["Com_commit"] / operations, 3),
        }

    def _used(self) -> dict[str, float]:
        return {name: machine.cpu_seconds(pids) for name, pids in self._processes.items()}


def statements(world: World) -> dict[str, int]:
    """Return the server's counts of statements and commits."""
    engine = sa.create_engine(world.mariadb.url)
    with engine.connect() as conn:
        rows = conn.execute(sa.text("SHOW GLOBAL STATUS WHERE Variable_name IN ('Questions', 'Com_commit')")).all()
    engine.dispose()
    return {name: int(value) for name, value in rows}
