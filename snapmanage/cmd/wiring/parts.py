"""Assembly of the parts of a process: database, bus, application, relay."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from oslo_config import cfg

from snapmanage.bus import Bus
from snapmanage.bus.names import Names
from snapmanage.cmd.wiring import configuration
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.pulse import Pulse
from snapmanage.relay import Relay
from snapmanage.store.engine import schema
from snapmanage.store.engine.database import Database

if TYPE_CHECKING:
    from snapmanage.bus.rabbit.bus import RabbitBus
    from snapmanage.bus.rabbit.topology import Topology


@dataclass(frozen=True)
class Parts:
    """The parts that API and servers have in common; `relay` is None if `snapmanage-relay` sends their messages."""

    db: Database
    bus: Bus
    names: Names
    app: Application
    relay: Relay | None

    def pulses(self) -> list[Pulse]:
        return [self.relay.pulse] if self.relay else []

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
    from snapmanage.cmd.wiring import broker_connection

    names = configuration.names(conf)
    return RabbitBus(broker_connection.connector(conf), topology(conf, names), LazyCaller(conf, names)), names


class LazyCaller:
    """The RPC client of oslo.messaging, built for the first call, since servers never call."""

    def __init__(self, conf: cfg.ConfigOpts, names: Names) -> None:
        self._conf = conf
        self._names = names
        self._client: Any = None
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any) -> Any:
        from snapmanage.bus.rabbit.oslo_client import OsloCaller
        from snapmanage.cmd.wiring import broker_connection

        with self._lock:  # a second client would keep its connection and its thread forever
            if self._client is None:
                timeout_seconds = self._conf.api.call_timeout_seconds
                rpc_brokers = broker_connection.rpc_brokers(self._conf)
                self._client = OsloCaller(self._conf, self._names, timeout_seconds, rpc_brokers)
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
