"""Putting parts together: site, bus, relay, listener."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from oslo_config import cfg

from snapmanage import errors
from snapmanage.bus import Bus
from snapmanage.bus.names import Names
from snapmanage.cmd.wiring import configuration
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.relay import Relay
from snapmanage.store.engine import schema
from snapmanage.store.engine.database import Database

if TYPE_CHECKING:
    from snapmanage.bus.rabbit.bus import RabbitBus
    from snapmanage.bus.rabbit.topology import Topology

CONNECT_TIMEOUT_SECONDS = 5
# How long a broker may take to answer what it is asked, such as to declare a queue; one that hangs is left.
ANSWER_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Parts:
    """What API and servers have in common; `relay` is None where `snapmanage-relay` does its work."""

    db: Database
    bus: Bus
    names: Names
    app: Application
    relay: Relay | None

    def start(self) -> None:
        if self.relay:
            self.relay.start()

    def stop(self) -> None:
        """Send what is owed, then let go of bus and database."""
        if self.relay:
            self.relay.stop()
        self.bus.close()
        self.db.close()


def assemble(conf: cfg.ConfigOpts, db: Database, bus: Bus, names: Names) -> Parts:
    """A site whose messages go out through this process's own relay, unless that is switched off."""
    relay = make_relay(conf, db, bus, names) if conf.relay.in_process else None
    outbox_writer = OutboxWriter(relay.nudge, timedelta(seconds=conf.relay.hold_seconds)) if relay else OutboxWriter()
    return Parts(db, bus, names, Application(db, outbox_writer, configuration.rules(conf)), relay)


def assemble_for_deployment(conf: cfg.ConfigOpts) -> Parts:
    """The parts of one process among others: on RabbitMQ, with a database that is up to date."""
    bus, names = connect_bus(conf)
    return assemble(conf, open_database(conf), bus, names)


def open_database(conf: cfg.ConfigOpts) -> Database:
    """The configured database; `ConfigurationError` unless its schema is current."""
    db = configuration.database(conf)
    try:
        schema.require_current(db.engine)
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def opened_database(conf: cfg.ConfigOpts) -> Iterator[Database]:
    """Like `open_database`, and close it in the end."""
    with closing(open_database(conf)) as db:
        yield db


def make_relay(conf: cfg.ConfigOpts, db: Database, bus: Bus, names: Names) -> Relay:
    return Relay(db, bus, names, conf.relay.interval_seconds, conf.relay.batch)


def connect_bus(conf: cfg.ConfigOpts) -> tuple["RabbitBus", Names]:
    """The bus of `transport_url`, which connects when first used."""
    from snapmanage.bus.rabbit.bus import RabbitBus

    url, names = _transport_url(conf), configuration.names(conf)
    return RabbitBus(_connector(conf, url), topology(conf, names), _Caller(conf, names)), names


def virtual_host(conf: cfg.ConfigOpts) -> str:
    """Return the broker's virtual host."""
    return _transport_url(conf).virtual_host or "/"


def _transport_url(conf: cfg.ConfigOpts) -> Any:
    """Return the broker's address; `ConfigurationError` where it is none of RabbitMQ."""
    import oslo_messaging

    try:
        url = oslo_messaging.TransportURL.parse(conf)
    except (ValueError, oslo_messaging.MessagingException):  # whose texts may hold the password
        raise errors.ConfigurationError(
            "transport_url is no URL of a broker: its form is rabbit://USER:PASSWORD@HOST:PORT/VIRTUAL_HOST, "
            "with special characters of a password as %XX"
        ) from None
    if url.transport not in ("rabbit", "kombu"):
        raise errors.ConfigurationError(
            f"transport_url begins with {url.transport}://, which doesn't reach other processes: use rabbit://, "
            "or `snapmanage standalone` for everything in one process"
        )
    return url


class _Caller:
    """The stock client, made when first needed: a server never calls."""

    def __init__(self, conf: cfg.ConfigOpts, names: Names) -> None:
        self._conf = conf
        self._names = names
        self._stock: Any = None
        self._turn = threading.Lock()

    def __call__(self, *arguments: Any) -> Any:
        from snapmanage.bus.rabbit.oslo_client import OsloCaller

        with self._turn:  # a second one would keep its connection and its thread for good
            if self._stock is None:
                self._stock = OsloCaller(self._conf, self._names, self._conf.api.call_timeout_seconds)
        return self._stock(*arguments)

    def close(self) -> None:
        if self._stock is not None:
            self._stock.close()


def topology(conf: cfg.ConfigOpts, names: Names) -> "Topology":
    """Return how queues are declared under the options of `[oslo_messaging_rabbit]`."""
    from snapmanage.bus.rabbit.topology import Topology

    rabbit = conf.oslo_messaging_rabbit
    arguments = {"x-queue-type": "quorum"} if rabbit.rabbit_quorum_queue else {}
    if rabbit.rabbit_quorum_queue:
        bounds = {
            "x-delivery-limit": rabbit.rabbit_quorum_delivery_limit,
            "x-max-in-memory-length": rabbit.rabbit_quorum_max_memory_length,
            "x-max-in-memory-bytes": rabbit.rabbit_quorum_max_memory_bytes,
        }
        arguments |= {name: bound for name, bound in bounds.items() if bound}
    elif rabbit.rabbit_ha_queues:
        arguments["x-ha-policy"] = "all"
    durable = rabbit.amqp_durable_queues or rabbit.rabbit_quorum_queue
    return Topology(names.exchange, durable, rabbit.amqp_auto_delete, arguments, names.queue_names())


def _connector(conf: cfg.ConfigOpts, url: Any) -> Any:
    """A function that opens a connection to one of the brokers, trying each in turn."""
    import kombu

    addresses = [_address(host, url.virtual_host) for host in url.hosts]
    tls = _tls(conf.oslo_messaging_rabbit)

    def connect(heartbeat_seconds: int) -> kombu.Connection:
        connection = kombu.Connection(
            addresses,
            heartbeat=heartbeat_seconds,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            ssl=tls,
            transport_options={"read_timeout": ANSWER_TIMEOUT_SECONDS, "write_timeout": ANSWER_TIMEOUT_SECONDS},
        )
        connection.ensure_connection(max_retries=len(addresses), interval_start=0, interval_max=0.1)
        return connection

    return connect


def _address(host: Any, virtual_host: str | None) -> str:
    user, password = quote(host.username or "guest", safe=""), quote(host.password or "guest", safe="")
    name = f"[{host.hostname}]" if ":" in host.hostname else host.hostname
    return f"amqp://{user}:{password}@{name}:{host.port or 5672}/{quote(virtual_host or '/', safe='')}"


def _tls(rabbit: Any) -> Any:
    if not rabbit.ssl:
        return False
    given = {
        "ca_certs": rabbit.ssl_ca_file,
        "certfile": rabbit.ssl_cert_file,
        "keyfile": rabbit.ssl_key_file,
    }
    return {name: value for name, value in given.items() if value} or True
