"""Taking batches off queues over one connection: handle, then acknowledge, then the next.

A broker counts how often it delivers a message, and takes back what isn't acknowledged in its time. So nothing is held
while it can't be handled: it is given back once, and nothing is consumed until the handler's probe says that it can
work again. The connection stays.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

import kombu
from amqp.exceptions import AMQPError, ChannelError, PreconditionFailed
from kombu.exceptions import KombuError

from snapmanage import crash
from snapmanage.bus import Delivery, Handle, Probe, deliveries, frames
from snapmanage.bus.declaring import Declaration, Declared, Troubles
from snapmanage.bus.hand import Hand, Work
from snapmanage.crash import Point

LOG = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 20
IDLE_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0
# A batch is handed over so often before it is given back: what fails for a moment needn't count as a delivery.
TRIES = 3
# How long a batch is held at most. A broker takes it back after its consumer_timeout, by default half an hour.
HOLD_SECONDS = 20.0
# How often a queue that the broker refuses is declared again.
REFUSED_SECONDS = 10.0
READ_SECONDS = 0.01
_LOST = (AMQPError, KombuError, OSError)


class Taker:
    """One thread with a connection of its own; it connects again for ever. Another thread handles.

    A batch is what has arrived by the time the last one was done, up to the prefetch. Nothing is acknowledged before
    `handle` returned. While it raises, or hangs, nothing is held. `wanted` says how each queue is declared.
    """

    def __init__(
        self,
        connect: Callable[[int], kombu.Connection],
        wanted: Mapping[str, Declaration],
        handle: Handle,
        prefetch: int,
        probe: Probe,
    ) -> None:
        self._connect = connect
        self._wanted = wanted
        self._handle = handle
        self._probe = probe
        self._prefetch = prefetch
        self._stopping = threading.Event()
        self._arrived: list[Any] = []
        self._pause = FIRST_PAUSE_SECONDS
        self._troubles = Troubles()
        self._dead_letters = deliveries.DeadLetters()
        self._consumed: dict[str, Declared] = {}
        self._declare_again_at = 0.0
        self._hand = Hand("handler")
        self._at_work: Future[None] | None = None
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="consumer", daemon=True)

    def start(self) -> None:
        self._hand.start()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def join(self, timeout_seconds: float) -> None:
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._consume_once()
            except PreconditionFailed as error:
                LOG.warning(
                    "The broker took messages back, since they were not acknowledged within its consumer_timeout; "
                    "they come again. Where the database is only slow, raise consumer_timeout (%s).",
                    error,
                )
                self._rest()
            except ChannelError as error:
                self._log_loss("The broker refused something", error)
                self._rest()
            except _LOST as error:
                self._log_loss("The broker is away", error)
                self._rest()
            except Exception:
                LOG.exception("The consumer failed; it starts again in %g s.", self._pause)
                self._rest()
        self._hand.end()

    def _consume_once(self) -> None:
        """Consume over one connection until told to stop, or until it breaks."""
        connection = self._connect(HEARTBEAT_SECONDS)
        try:
            wire = connection.connection
            wire.on_inbound_frame = frames.leniently(wire.on_inbound_frame)
            while not self._stopping.is_set():
                if self._can_handle(connection):
                    self._consume(connection)
        finally:
            self._failing |= self._at_work is not None and (not self._at_work.done() or bool(self._at_work.exception()))
            # Not politely: a broker that hangs would never agree. What isn't acknowledged goes back.
            connection.collect(socket_timeout=IDLE_SECONDS)

    def _log_loss(self, what: str, error: Exception) -> None:
        LOG.warning("%s (%s); consuming %s again in %g s.", what, error, ", ".join(self._wanted), self._pause)

    def _rest(self) -> None:
        self._stopping.wait(self._pause)
        self._lengthen_pause()

    def _lengthen_pause(self) -> None:
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def _can_handle(self, connection: kombu.Connection) -> bool:
        """Whether a batch could be handled now; where it failed before, ask the handler's probe, after a pause."""
        if not self._failing:
            return True
        self._keep_alive(connection, self._pause)
        self._lengthen_pause()
        if self._at_work is not None and not self._ended(connection, self._at_work, float("inf")):
            return False
        if not self._worked(connection, self._begin(self._probe), float("inf")):
            return False
        self._failing = False
        return True

    def _consume(self, connection: kombu.Connection) -> None:
        """Consume until told to stop, or until a batch can't be handled, which is given back."""
        self._arrived, self._consumed, self._declare_again_at = [], {}, 0.0
        channel = connection.channel()
        channel.auto_decode = False  # bytes are kept as they came, whatever their encoding is said to be
        channel.basic_qos(0, self._prefetch, False)
        while not self._stopping.is_set():
            if time.monotonic() >= self._declare_again_at:
                self._declare(connection, channel)
            self._fill(connection)
            if self._arrived and not self._work_off(connection, channel):
                channel.close()  # which gives back what isn't acknowledged
                return

    def _declare(self, connection: kombu.Connection, channel: Any) -> None:
        """Consume every queue that the broker lets us have, and look again later where it refuses one."""
        known = {declared.name for declared in self._consumed.values()}
        refused = False
        for declare in self._wanted.values():
            declared = declare(connection)
            self._troubles.log(declared)
            refused |= not declared.usable
            if declared.usable and declared.name not in known:
                # On the channel itself: kombu's consumer fails at headers that it can't decode.
                tag = channel.basic_consume(declared.name, callback=self._arrived.append)
                self._consumed[tag] = declared
        self._declare_again_at = time.monotonic() + REFUSED_SECONDS if refused else float("inf")
        if self._consumed:
            LOG.info("Consuming %s.", ", ".join(declared.name for declared in self._consumed.values()))

    def _fill(self, connection: kombu.Connection) -> None:
        """Wait for a message, unless some have arrived, then take what else is here already."""
        try:
            if not self._arrived:
                connection.drain_events(timeout=IDLE_SECONDS)
            while len(self._arrived) < self._prefetch and frames.one_is_here(connection):
                connection.drain_events(timeout=IDLE_SECONDS)
        except TimeoutError:
            connection.heartbeat_check()
            self._pause = FIRST_PAUSE_SECONDS

    def _work_off(self, connection: kombu.Connection, channel: Any) -> bool:
        """Handle what has arrived, and acknowledge it; False when it can't be handled for now."""
        batch = list(self._arrived)
        if not self._handled([self._delivery(message) for message in batch], connection):
            self._failing = True
            return False
        crash.at(Point.HANDLED)
        channel.basic_ack(batch[-1].delivery_tag, multiple=True)
        crash.at(Point.ACKNOWLEDGED)
        del self._arrived[: len(batch)]
        self._pause = FIRST_PAUSE_SECONDS
        return True

    def _delivery(self, message: Any) -> Delivery:
        return self._dead_letters.delivery(message, self._consumed[message.delivery_info["consumer_tag"]])

    def _handled(self, batch: Sequence[Delivery], connection: kombu.Connection) -> bool:
        deadline, pause = time.monotonic() + HOLD_SECONDS, FIRST_PAUSE_SECONDS
        for tries_left in reversed(range(TRIES)):
            done = self._begin(partial(self._handle, batch))
            if self._worked(connection, done, deadline):
                return True
            if not done.done() or not tries_left or self._stopping.is_set():
                break
            self._keep_alive(connection, pause)
            pause *= 2
        LOG.warning(
            "%d messages could not be handled: they go back to the broker, and nothing is consumed until they can be.",
            len(self._arrived),
        )
        return False

    def _begin(self, work: Work) -> Future[None]:
        self._at_work = self._hand.begin(work)
        return self._at_work

    def _worked(self, connection: kombu.Connection, work: Future[None], deadline: float) -> bool:
        """Whether it was done in time, and without an error; the connection is kept meanwhile."""
        if not self._ended(connection, work, deadline):
            return False
        error = work.exception()
        if error is not None:
            level = logging.WARNING if self._failing else logging.ERROR
            LOG.log(level, "Messages could not be handled: %s", error, exc_info=None if self._failing else error)
        return error is None

    def _ended(self, connection: kombu.Connection, work: Future[None], deadline: float) -> bool:
        """Whether the work has ended in time; once it fails, nobody who is stopped waits for it."""
        while not work.done():
            with suppress(TimeoutError):
                work.exception(max(0.0, min(IDLE_SECONDS, deadline - time.monotonic())))
            if work.done():
                break
            if time.monotonic() >= deadline or (self._failing and self._stopping.is_set()):
                return False
            self._keep_alive(connection, READ_SECONDS)
        return True

    def _keep_alive(self, connection: kombu.Connection, seconds: float) -> None:
        """Wait, but read on: unread heartbeats would end the connection, and count as deliveries in vain."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self._stopping.is_set():
            with suppress(TimeoutError):
                connection.drain_events(timeout=min(left, IDLE_SECONDS))
            connection.heartbeat_check()
