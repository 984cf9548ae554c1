"""Assembly of the parts of a process: database, bus, application, relay."""

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
# Time for a broker to answer, for example a declaration of a queue; then the connection is closed.
ANSWER_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Parts:
    """The parts that API and servers have in common; `relay` is None if `snapmanage-relay` sends their messages."""

    db: Database
    bus: Bus
    names: Names
    app: Application
    relay: Relay | None

    def start(self) -> None:
        if self.relay:
            self.relay.start()

    def stop(self) -> None:
        """Send the messages that this process owes, then close the bus and the database."""
        if self.relay:
            self.relay.stop()
        self.bus.close()
        self.db.close()


def assemble(conf: cfg.ConfigOpts, db: Database, bus: Bus, names: Names) -> Parts:
    """Return the parts, with a relay in this process unless `[relay] in_process` is off."""
    relay = make_relay(conf, db, bus, names) if conf.relay.in_process else None
    outbox_writer = OutboxWriter(relay.nudge, timedelta(seconds=conf.relay.hold_seconds)) if relay else OutboxWriter()
    return Parts(db, bus, names, Application(db, outbox_writer, configuration.rules(conf)), relay)


def assemble_for_deployment(conf: cfg.ConfigOpts) -> Parts:
    """Return the parts of one process of a deployment, on RabbitMQ; the database's schema must be current."""
    bus, names = connect_bus(conf)
    return assemble(conf, open_database(conf), bus, names)


def open_database(conf: cfg.ConfigOpts) -> Database:
    """Return the configured database; raise `ConfigurationError` if its schema is not current."""
    db = configuration.database(conf)
    try:
        schema.require_current(db.engine)
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def opened_database(conf: cfg.ConfigOpts) -> Iterator[Database]:
    """Like `open_database`, as a context that closes the database."""
    with closing(open_database(conf)) as db:
        yield db


def make_relay(conf: cfg.ConfigOpts, db: Database, bus: Bus, names: Names) -> Relay:
    return Relay(db, bus, names, conf.relay.interval_seconds, conf.relay.batch)


def connect_bus(conf: cfg.ConfigOpts) -> tuple["RabbitBus", Names]:
    """Return the bus of `transport_url`, which connects when it is first used, and the names on it."""
    from snapmanage.bus.rabbit.bus import RabbitBus

    url, names = _transport_url(conf), configuration.names(conf)
    return RabbitBus(_connector(conf, url), topology(conf, names), LazyCaller(conf, names)), names


def virtual_host(conf: cfg.ConfigOpts) -> str:
    """Return the broker's virtual host."""
    return _transport_url(conf).virtual_host or "/"


def _transport_url(conf: cfg.ConfigOpts) -> Any:
    """Return the broker's URL; raise `ConfigurationError` if it is not a URL of RabbitMQ."""
    import oslo_messaging

    try:
        url = oslo_messaging.TransportURL.parse(conf)
    except (ValueError, oslo_messaging.MessagingException):  # its text may contain the password
        raise errors.ConfigurationError(
            "[DEFAULT] transport_url is not a valid broker URL; expected "
            "rabbit://USER:PASSWORD@HOST:PORT/VIRTUAL_HOST, with special characters of the password as %XX"
        ) from None
    if url.transport not in ("rabbit", "kombu"):
        raise errors.ConfigurationError(
            f"[DEFAULT] transport_url begins with {url.transport}://, which does not reach other processes; use "
            "rabbit://, or run everything in one process with `snapmanage standalone`"
        )
    return url


class LazyCaller:
    """The RPC client of oslo.messaging, built for the first call, since servers never call."""

    def __init__(self, conf: cfg.ConfigOpts, names: Names) -> None:
        self._conf = conf
        self._names = names
        self._client: Any = None
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any) -> Any:
        from snapmanage.bus.rabbit.oslo_client import OsloCaller

        with self._lock:  # a second client would keep its connection and its thread forever
            if self._client is None:
                self._client = OsloCaller(self._conf, self._names, self._conf.api.call_timeout_seconds)
        return self._client(*arguments)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


def topology(conf: cfg.ConfigOpts, names: Names) -> "Topology":
    """Return the arguments of queues from the options of `[oslo_messaging_rabbit]`."""
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
    """Return a function that connects to the first broker that answers."""
    import kombu

    addresses = [broker_address(host, url.virtual_host) for host in url.hosts]
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


def broker_address(host: Any, virtual_host: str | None) -> str:
    """Return the URL of a broker for kombu."""
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
