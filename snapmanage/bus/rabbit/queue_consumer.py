"""Consume queues over one connection: handle a batch, acknowledge it, take the next one.

The broker counts the deliveries of a message, and requeues a message that is not acknowledged in time. So a batch
that cannot be handled is requeued once, and consuming pauses until the handler's probe succeeds. The connection stays.
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
from amqp.exceptions import ChannelError, PreconditionFailed

from snapmanage import crash
from snapmanage.bus import Delivery, Handle, Probe
from snapmanage.bus.rabbit import deliveries, frames
from snapmanage.bus.rabbit.arrived import ArrivedMessages, BatchSize
from snapmanage.bus.rabbit.connecting import BROKEN
from snapmanage.bus.rabbit.declaring import Declaration, DeclaredQueue, QueueProblemLog
from snapmanage.bus.rabbit.handler_thread import HandlerThread, Work
from snapmanage.core.readiness import Check
from snapmanage.crash import Point
from snapmanage.pulse import Pulse

LOG = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 20
IDLE_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0
# Handle a batch up to this many times before it is requeued: a short failure should not count as a delivery.
TRIES = 3
# A batch is held no longer, and then handled in parts. The broker requeues it after half an hour by default.
HOLD_SECONDS = 20.0
# Declare a refused queue again after this time.
REFUSED_SECONDS = 10.0
READ_SECONDS = 0.01


class QueueConsumer:
    """Consumes queues in a thread with a connection of its own, and reconnects for ever; another thread handles.

    `declarations` has a function for each queue, by the queue's name. A batch holds the messages that arrived while the
    last batch was handled, within the limits of `ArrivedMessages`. It is acknowledged after `handle` has returned.
    While `handle` raises or hangs, no message is held.
    """

    def __init__(
        self,
        connect: Callable[[int], kombu.Connection],
        declarations: Mapping[str, Declaration],
        handle: Handle,
        prefetch: int,
        probe: Probe,
    ) -> None:
        self._connect = connect
        self._declarations = declarations
        self._handle = handle
        self._probe = probe
        self._prefetch = prefetch
        self._stopping = threading.Event()
        self._arrived = ArrivedMessages(prefetch)
        self._batch_size = BatchSize(prefetch)
        self._pause = FIRST_PAUSE_SECONDS
        self._problems = QueueProblemLog()
        self._dead_letters = deliveries.DeadLetters()
        self._consumed: dict[str, DeclaredQueue] = {}
        self._declare_again_at = 0.0
        self._handler_thread = HandlerThread(f"handler {self._queues}")
        self._at_work: Future[None] | None = None
        self._failing = False
        self._problem: str | None = "it is not connected to the broker yet"
        self._pulse = Pulse(f"consumer {self._queues}")
        self._thread = threading.Thread(target=self._pulse.watched(self._run), name="consumer", daemon=True)

    def pulses(self) -> list[Pulse]:
        return [self._pulse, self._handler_thread.pulse]

    def readiness(self) -> Check:
        return Check(f"consumer/{next(iter(self._declarations))}", self._problem)

    def start(self) -> None:
        self._handler_thread.start()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def join(self, timeout_seconds: float) -> None:
        """Wait for the current batch; a consumer that is still declaring its queues has none."""
        if self._consumed or (self._at_work is not None and not self._at_work.done()):
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._pulse.begin_turn()
            try:
                self._consume_over_one_connection()
            except PreconditionFailed as error:
                problem = "The broker requeued messages that were not acknowledged within its consumer_timeout"
                remedy = "They are redelivered; if the database is only slow, raise consumer_timeout"
                LOG.warning("%s (%s, %s). %s.", problem, self._queues, error, remedy)
                self._problem = problem
            except BROKEN as error:
                refused = isinstance(error, ChannelError)
                problem = "The broker refused a request" if refused else "The broker can't be reached"
                LOG.warning("%s (%s); consuming %s again in %g s.", problem, error, self._queues, self._pause)
                self._problem = f"{problem}: {error}"
            except Exception:
                LOG.exception("The consumer failed; it consumes %s again in %g s.", self._queues, self._pause)
                self._problem = "the consumer failed, and connects again; its log has the reason"
            self._stopping.wait(self._pause)
            self._lengthen_pause()
        self._handler_thread.end()

    def _consume_over_one_connection(self) -> None:
        """Consume over one connection until `stop` is called or the connection breaks."""
        connection = self._connect(HEARTBEAT_SECONDS)
        try:
            while not self._stopping.is_set():
                self._arrived = ArrivedMessages(self._prefetch)
                if self._can_handle(connection):
                    self._consume(connection)
        finally:
            self._failing |= self._at_work is not None and (not self._at_work.done() or bool(self._at_work.exception()))
            # Without a closing handshake: a hung broker would not answer. It requeues the unacknowledged messages.
            connection.collect(socket_timeout=IDLE_SECONDS)

    @property
    def _queues(self) -> str:
        return ", ".join(self._declarations)

    def _lengthen_pause(self) -> None:
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def _can_handle(self, connection: kombu.Connection) -> bool:
        """Return whether a batch can be handled now; after a failure, pause and call the handler's probe."""
        if not self._failing:
            return True
        self._keep_alive(connection, self._pause)
        self._lengthen_pause()
        idle = self._at_work is None or self._await_end(connection, self._at_work, float("inf"))
        if not (idle and self._await_success(connection, self._begin(self._probe), float("inf"))):
            return False
        self._failing = False
        return True

    def _consume(self, connection: kombu.Connection) -> None:
        """Consume until `stop` is called, or until a batch can't be handled and is requeued."""
        self._consumed, self._declare_again_at = {}, 0.0
        channel = connection.channel()
        channel.basic_qos(0, self._prefetch, False)
        while not self._stopping.is_set():
            self._pulse.begin_turn()
            if time.monotonic() >= self._declare_again_at:
                self._declare(connection, channel)
            self._read_messages(connection)
            if self._arrived and not self._handle_arrived(connection, channel):
                channel.close()  # the broker requeues the unacknowledged messages
                return

    def _declare(self, connection: kombu.Connection, channel: Any) -> None:
        """Declare and consume each queue; try again later if the broker refuses one."""
        known = {declared.name for declared in self._consumed.values()}
        refused = None
        for declare in self._declarations.values():
            declared = declare(connection)
            self._problems.log(declared)
            if not declared.usable:
                refused = f"the broker refuses queue {declared.name}; the log has the reason and the remedy"
            if declared.usable and declared.name not in known:
                # On the channel itself: kombu's consumer fails at headers that it can't decode.
                tag = channel.basic_consume(declared.name, callback=self._arrived.add)
                self._consumed[tag] = declared
        self._problem = refused
        self._declare_again_at = time.monotonic() + REFUSED_SECONDS if refused else float("inf")
        if self._consumed:
            LOG.info("Consuming %s.", ", ".join(declared.name for declared in self._consumed.values()))

    def _read_messages(self, connection: kombu.Connection) -> None:
        """Wait until a message has arrived, then read the messages that are already in the socket."""
        try:
            if not self._arrived:
                connection.drain_events(timeout=IDLE_SECONDS)
            while not self._arrived.full and frames.frame_available(connection):
                connection.drain_events(timeout=IDLE_SECONDS)
        except TimeoutError:
            connection.heartbeat_check()
            self._pause = FIRST_PAUSE_SECONDS

    def _handle_arrived(self, connection: kombu.Connection, channel: Any) -> bool:
        """Handle and acknowledge the batch; return False if it can't be handled for now."""
        batch, started_at = self._arrived.batch(self._batch_size.messages), time.monotonic()
        queues = [self._consumed[message.delivery_info["consumer_tag"]] for message in batch]
        if not self._handled(list(map(self._dead_letters.delivery, batch, queues)), connection):
            self._failing = True
            self._problem = "handling messages failed, so consuming pauses until the handler works; see the log"
            return False
        self._batch_size.after_success(quick=time.monotonic() - started_at < HOLD_SECONDS / 4)
        crash.at(Point.HANDLED)
        channel.basic_ack(batch[-1].delivery_tag, multiple=True)
        crash.at(Point.ACKNOWLEDGED)
        self._arrived.remove(batch)
        self._pause = FIRST_PAUSE_SECONDS
        return True

    def _handled(self, batch: Sequence[Delivery], connection: kombu.Connection) -> bool:
        deadline, pause = time.monotonic() + HOLD_SECONDS, FIRST_PAUSE_SECONDS
        for tries_left in reversed(range(TRIES)):
            done = self._begin(partial(self._handle, batch))
            if self._await_success(connection, done, deadline):
                return True
            if not done.done() or not tries_left or self._stopping.is_set():
                break
            self._keep_alive(connection, pause)
            pause *= 2
        text = "Handling %d messages of %s failed; they are requeued, and consuming pauses until the handler works."
        LOG.warning(text, len(batch), self._queues)
        self._batch_size.after_failure(len(batch))
        return False

    def _begin(self, work: Work) -> Future[None]:
        self._at_work = self._handler_thread.begin(work)
        return self._at_work

    def _await_success(self, connection: kombu.Connection, work: Future[None], deadline: float) -> bool:
        """Return whether the work succeeded before the deadline; keep the connection alive meanwhile."""
        if not self._await_end(connection, work, deadline):
            return False
        error = work.exception()
        if error is not None:
            level = logging.WARNING if self._failing else logging.ERROR
            LOG.log(level, "Handling messages failed: %s", error, exc_info=None if self._failing else error)
        return error is None

    def _await_end(self, connection: kombu.Connection, work: Future[None], deadline: float) -> bool:
        """Return whether the work ended before the deadline; after a failure, a stopped consumer does not wait."""
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
        """Wait, and read heartbeats: the broker closes a connection that misses them, which counts as deliveries.

        While there is no room for more bytes, only send them; a connection bears two silent intervals.
        """
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self._stopping.is_set():
            self._pulse.begin_turn()
            if self._arrived.heavy:
                self._stopping.wait(min(left, IDLE_SECONDS))
            else:
                with suppress(TimeoutError):
                    connection.drain_events(timeout=min(left, IDLE_SECONDS))
            connection.heartbeat_check()
