"""The bus on RabbitMQ: publishers with confirms, and consumers that acknowledge handled messages.

`topology` has the declarations of exchange and queues.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any, Protocol

import kombu

from snapmanage import crash, errors
from snapmanage.bus import Handle, Probe, Publication, no_probe
from snapmanage.bus.rabbit import frames
from snapmanage.bus.rabbit.arrived import MOST_MESSAGES
from snapmanage.bus.rabbit.connecting import BROKEN
from snapmanage.bus.rabbit.consumer import RabbitConsumer
from snapmanage.bus.rabbit.declaring import QueueProblemLog, declare, declare_dead_letters, declare_exchange
from snapmanage.bus.rabbit.ping import Ping
from snapmanage.bus.rabbit.topology import Topology
from snapmanage.core.values.logfields import fields
from snapmanage.crash import Point

LOG = logging.getLogger(__name__)

CONFIRM_TIMEOUT_SECONDS = 30
# Time to wait for a declaration of a dead-letter queue; RabbitMQ 4.0 may need a minute while the node is down.
DEAD_LETTERS_SECONDS = 1


Connect = Callable[[int], kombu.Connection]


class Caller(Protocol):
    """An RPC client: it calls a method of a server and returns the reply."""

    def __call__(
        self, server: str, method: str, arguments: Mapping[str, Any], context: Mapping[str, Any], /
    ) -> Any: ...

    def close(self) -> None: ...


class RabbitBus:
    """The bus on RabbitMQ.

    `connect` makes a connection with a heartbeat of the given seconds; `call` is the RPC client.
    """

    def __init__(self, connect: Connect, topology: Topology, call: Caller, prefetch: int = MOST_MESSAGES) -> None:
        self._connect = connect
        self._topology = topology
        self._call = call
        self._prefetch = prefetch
        self._events = Publisher(connect, topology)
        self._replies = Publisher(connect, topology)
        self._ping = Ping(connect)

    def send(self, publications: Sequence[Publication]) -> set[str]:
        return self._events.send(publications)

    def declare(self, keys: Sequence[str]) -> None:
        """Declare queues without consuming them.

        Raise `Unavailable` if the broker can't be reached or refuses a queue.
        """
        try:
            with self._connect(0) as connection:
                declared = [declare(connection, self._topology, key) for key in keys]
                declared += [declare_dead_letters(connection, self._topology, key) for key in keys]
        except BROKEN as error:
            raise errors.Unavailable(f"the broker can't be reached: {error}") from error
        for each in declared:
            if not each.usable:
                raise errors.Unavailable(each.problem.text if each.problem else f"the broker refuses queue {each.name}")

    def consume(self, queues: Sequence[str], handle: Handle, probe: Probe = no_probe) -> RabbitConsumer:
        consumer = RabbitConsumer(self._connect, self._topology, queues, handle, self._prefetch, probe)
        consumer.start()
        return consumer

    def call(self, server: str, method: str, arguments: Mapping[str, Any], context: Mapping[str, Any]) -> Any:
        return self._call(server, method, arguments, context)

    def reply(self, queue: str, body: bytes) -> None:
        try:
            self._replies.send([Publication("reply", queue, body, True)], exchange="")
        except errors.Unavailable as error:
            LOG.warning("Reply not sent; the caller of the RPC method times out: %s", fields(queue=queue, reason=error))

    def ping(self) -> None:
        self._ping()

    def close(self) -> None:
        self._ping.close()
        self._events.close()
        self._replies.close()
        self._call.close()


class Publisher:
    """Sends batches over one connection, and waits for all confirms of a batch at once; thread-safe."""

    def __init__(self, connect: Connect, topology: Topology) -> None:
        self._connect = connect
        self._topology = topology
        self._lock = threading.Lock()
        self._connection: kombu.Connection | None = None
        self._channel: Any = None
        self._declared: set[str] = set()
        self._declaring: dict[str, threading.Thread] = {}
        self._pending: dict[int, Publication] = {}
        self._refused: set[str] = set()
        self._unroutable: set[str] = set()
        self._problems = QueueProblemLog()
        self._nacked: set[str] = set()
        self._sent = 0

    def send(self, publications: Sequence[Publication], exchange: str | None = None) -> set[str]:
        """Send like `Bus.send`; with the empty exchange, routing keys are queue names."""
        with self._lock:
            try:
                return self._send(publications, self._topology.exchange if exchange is None else exchange)
            except BROKEN as error:
                self._drop()
                raise errors.Unavailable(f"the broker can't be reached: {error}") from error

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _send(self, publications: Sequence[Publication], exchange: str) -> set[str]:
        self._open()
        self._refused = set()
        self._nacked = set()
        sendable = [publication for publication in publications if self._declare(publication)]
        self._publish(sendable, exchange)
        crash.at(Point.UNCONFIRMED)
        while self._pending:
            self._channel.connection.drain_events(timeout=CONFIRM_TIMEOUT_SECONDS)
        if self._nacked:
            # A channel may refuse all later messages for a queue whose leader has moved to another node.
            LOG.warning(
                "The broker refused messages for %s; they are sent again over another connection. "
                "If this repeats, the queue is full: check its length limit and its consumers.",
                ", ".join(sorted(self._nacked)),
            )
            self._drop()
        arrived = [publication for publication in sendable if publication.message_id not in self._refused]
        self._unroutable -= {publication.routing_key for publication in arrived}
        return {publication.message_id for publication in arrived}

    def _declare(self, publication: Publication) -> bool:
        """Declare the publication's queue unless it must exist; return False if the broker refuses the queue."""
        if publication.queue_must_exist or publication.routing_key in self._declared:
            return True
        assert self._connection is not None
        self._declare_dead_letters(publication.routing_key)
        declared = declare(self._connection, self._topology, publication.routing_key)
        self._problems.log(declared)
        if not declared.usable:
            self._refused.add(publication.message_id)
            return False
        self._declared.add(publication.routing_key)
        return True

    def _declare_dead_letters(self, key: str) -> None:
        """Start to declare the dead-letter queue, and wait up to `DEAD_LETTERS_SECONDS` for it.

        It is declared before the queue itself, because that queue may drop messages from its first moment on.
        """
        declaring = self._declaring.get(key)
        if declaring is None or not declaring.is_alive():
            name = f"declare {self._topology.dead_letter_name(key)}"
            declaring = threading.Thread(target=self._declare_dead_letters_apart, args=[key], name=name, daemon=True)
            self._declaring[key] = declaring
            declaring.start()
        declaring.join(DEAD_LETTERS_SECONDS)

    def _declare_dead_letters_apart(self, key: str) -> None:
        """Declare the dead-letter queue over a connection of its own, which may hang for a minute."""
        try:
            with self._connect(0) as connection:
                self._problems.log(declare_dead_letters(connection, self._topology, key))
        except BROKEN as error:
            name = self._topology.dead_letter_name(key)
            LOG.warning("Queue %s is not declared yet (%s); the next connection declares it again.", name, error)

    def _publish(self, publications: Sequence[Publication], exchange: str) -> None:
        connection = self._channel.connection
        number = self._channel.channel_id
        written = [frames.publish(number, exchange, each, connection.frame_max) for each in publications]
        self._pending = dict(enumerate(publications, self._sent + 1))
        self._sent += len(publications)
        connection.transport.write(b"".join(written))

    def _open(self) -> None:
        if self._channel is not None:
            return
        self._connection = self._connect(0)
        self._connection.connect()
        declare_exchange(self._connection, self._topology.declared_exchange())
        self._channel = self._connection.channel()
        self._channel.confirm_select()
        self._channel.events["basic_ack"].add(self._confirmed)
        self._channel.events["basic_nack"].add(self._on_nack)
        self._channel.events["basic_return"].add(self._on_return)

    def _drop(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        self._declared.clear()
        self._pending.clear()
        self._sent = 0
        if connection is not None:
            connection.collect(socket_timeout=1)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        for publication in self._confirmed(tag, multiple):
            self._nacked.add(publication.routing_key)
            self._refused.add(publication.message_id)

    def _confirmed(self, tag: int, multiple: bool) -> list[Publication]:
        """Remove the publications that a confirm covers from the pending ones, and return them."""
        tags = takewhile(lambda at: at <= tag, list(self._pending)) if multiple else [tag]
        return [self._pending.pop(at) for at in tags if at in self._pending]

    def _on_return(self, error: Any, exchange: str, routing_key: str, message: Any) -> None:
        """Note a message that no queue took: its server never ran, or the queue or its binding was deleted."""
        # A reply without a queue is normal: its caller has ended. A missing queue is logged once until it exists again.
        if exchange and routing_key not in self._unroutable:
            self._unroutable.add(routing_key)
            LOG.warning(
                "The broker has no queue %s, or the queue is not bound; its messages wait in the outbox. "
                "Start the process that consumes it; while it runs, it binds the queue again within a minute, if its "
                "user at the broker may do so.",
                routing_key,
            )
        self._declared.discard(routing_key)
        self._refused.add(message.properties.get("message_id", ""))
