"""Taking batches off RabbitMQ's queues: handle, then acknowledge, then the next."""

import logging
import select
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import kombu
from amqp.exceptions import AMQPError
from kombu.exceptions import KombuError

from snapmanage import crash
from snapmanage.bus import Delivery, Handle, frames
from snapmanage.crash import Point

LOG = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 20
IDLE_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0
_LOST = (AMQPError, KombuError, OSError)


class RabbitConsumer:
    """One thread with a connection of its own; it connects again for ever.

    A batch is what has arrived by the time the last one was done, up to the prefetch. Nothing is
    acknowledged before `handle` returned; while it raises, the batch is kept and handed over again.
    """

    def __init__(
        self,
        connect: Callable[[int], kombu.Connection],
        queues: Sequence[kombu.Queue],
        handle: Handle,
        prefetch: int,
    ) -> None:
        self._connect = connect
        self._queues = queues
        self._handle = handle
        self._prefetch = prefetch
        self._stopping = threading.Event()
        self._arrived: list[Any] = []
        self._pause = FIRST_PAUSE_SECONDS
        self._thread = threading.Thread(target=self._run, name="consumer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def join(self, timeout_seconds: float) -> None:
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._consume_once()
            except _LOST as error:
                LOG.warning("The broker is away (%s); connecting again in %g s.", error, self._pause)
                self._rest()
            except Exception:
                LOG.exception("The consumer stumbled; it starts again in %g s.", self._pause)
                self._rest()

    def _consume_once(self) -> None:
        """Consume over one connection until told to stop, or until it breaks."""
        connection = self._connect(HEARTBEAT_SECONDS)
        try:
            self._consume(connection)
        finally:
            # Not politely: a broker that hangs would never agree. What isn't acknowledged goes back.
            connection.collect(socket_timeout=IDLE_SECONDS)

    def _rest(self) -> None:
        self._stopping.wait(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def _consume(self, connection: kombu.Connection) -> None:
        self._arrived = []
        wire = connection.connection
        wire.on_inbound_frame = frames.leniently(wire.on_inbound_frame)
        channel = connection.channel()
        channel.auto_decode = False  # bytes are kept as they came, whatever their encoding is said to be
        channel.basic_qos(0, self._prefetch, False)
        for queue in self._queues:
            queue(channel).declare()
            # On the channel itself: kombu's consumer fails at headers that it can't decode.
            channel.basic_consume(queue.name, callback=self._arrived.append)
        LOG.info("Consuming %s.", ", ".join(queue.name for queue in self._queues))
        while not self._stopping.is_set():
            self._fill(connection)
            if self._arrived:
                self._work_off(connection, channel)

    def _fill(self, connection: kombu.Connection) -> None:
        """Wait for a message, then take what else is here already."""
        try:
            connection.drain_events(timeout=IDLE_SECONDS)
            while len(self._arrived) < self._prefetch and _readable(connection):
                connection.drain_events(timeout=IDLE_SECONDS)
        except TimeoutError:
            connection.heartbeat_check()
            self._pause = FIRST_PAUSE_SECONDS

    def _work_off(self, connection: kombu.Connection, channel: Any) -> None:
        batch = list(self._arrived)
        if self._handled([_delivery(message) for message in batch], connection):
            crash.at(Point.HANDLED)
            channel.basic_ack(batch[-1].delivery_tag, multiple=True)
            crash.at(Point.ACKNOWLEDGED)
            del self._arrived[: len(batch)]
            self._pause = FIRST_PAUSE_SECONDS

    def _handled(self, batch: Sequence[Delivery], connection: kombu.Connection) -> bool:
        pause = FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            try:
                self._handle(batch)
                return True
            except Exception:
                LOG.exception("%d messages could not be handled; they are kept and tried again.", len(batch))
            self._keep_alive(connection, pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        return False

    def _keep_alive(self, connection: kombu.Connection, seconds: float) -> None:
        """Rest, but read on: unread heartbeats would end the connection, and count as deliveries in vain."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self._stopping.is_set():
            with suppress(TimeoutError):
                connection.drain_events(timeout=min(left, IDLE_SECONDS))
            connection.heartbeat_check()


def _readable(connection: kombu.Connection) -> bool:
    """Whether the next frame is here; py-amqp reads frame by frame, so that none hides in a buffer of its own."""
    sock = connection.connection.sock
    pending = getattr(sock, "pending", None)
    if pending is not None and pending():
        return True
    return bool(select.select([sock], [], [], 0)[0])


def _delivery(message: Any) -> Delivery:
    how = message.delivery_info
    return Delivery(
        how["routing_key"], bytes(message.body or b""), dict(message.headers or {}), bool(how["redelivered"])
    )
