"""Send the messages of the outbox to the bus.

The relay sends the messages of its own process from memory, right after their commit. It also reads the outbox table
for messages that were not sent, from any process. A notification is deleted once it has arrived. A cast is sent again,
after longer and longer delays, until its server has accepted it and deleted it.
"""

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from snapmanage import crash, errors
from snapmanage.bus import Bus, envelope
from snapmanage.bus.names import Names
from snapmanage.core.outbox import Kind, Message
from snapmanage.core.values.logfields import fields
from snapmanage.crash import Point
from snapmanage.pulse import Pulse
from snapmanage.store import outbox
from snapmanage.store.engine.database import Database

LOG = logging.getLogger(__name__)

MEMORY_LIMIT = 10_000
FIRST_DELAY = timedelta(seconds=5)
# A message that did not arrive is sent each minute. A cast that did arrive is in its server's queue, once for each time
# it was sent: a server that was down for a day must find only a few copies.
LONGEST_UNARRIVED = timedelta(minutes=1)
LONGEST_DELAYS = {Kind.NOTIFICATION: LONGEST_UNARRIVED, Kind.CAST: timedelta(hours=1)}


class FreshMessages:
    """Messages in memory: each batch has messages of every project, in the order of each project.

    If there are more than `limit`, the project with the most messages loses its newest ones; they
    are in the outbox, from which the relay sends them later. Several threads may use the object.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._by_project: OrderedDict[str, deque[Message]] = OrderedDict()
        self._changed = threading.Condition()
        self._is_closing = False

    def __len__(self) -> int:
        return self._count

    def add(self, messages: Iterable[Message]) -> None:
        with self._changed:
            for message in messages:
                self._add(message)
            self._changed.notify_all()

    def take(self, most: int, timeout_seconds: float) -> list[Message]:
        """Remove and return up to `most` messages; wait for the first one, unless `close` was called."""
        with self._changed:
            if not self._count and not self._is_closing:
                self._changed.wait(timeout_seconds)
            return [self._next() for _ in range(min(most, self._count))]

    def close(self) -> None:
        """Let no `take` wait any more."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()

    def clear(self) -> None:
        with self._changed:
            self._by_project.clear()
            self._count = 0

    def _add(self, message: Message) -> None:
        self._by_project.setdefault(str(message.context.get("project_id")), deque()).append(message)
        self._count += 1
        if self._count > self._limit:
            self._remove(max(self._by_project, key=lambda project: len(self._by_project[project])), newest=True)

    def _next(self) -> Message:
        """Remove the oldest message of the project whose turn it is; the next turn is that of another project."""
        project = next(iter(self._by_project))
        self._by_project.move_to_end(project)
        return self._remove(project)

    def _remove(self, project: str, newest: bool = False) -> Message:
        messages = self._by_project[project]
        removed = messages.pop() if newest else messages.popleft()
        self._count -= 1
        if not messages:
            del self._by_project[project]
        return removed


class Relay:
    """A thread that sends messages, up to `batch` at once, and reads the outbox every `interval_seconds`."""

    def __init__(self, db: Database, bus: Bus, names: Names, interval_seconds: float = 1.0, batch: int = 200) -> None:
        self._db = db
        self._bus = bus
        self._names = names
        self._interval = interval_seconds
        self._batch = batch
        self._fresh = FreshMessages(MEMORY_LIMIT)
        self._stopping = threading.Event()
        self._next_sweep = 0.0
        self._bus_away = False
        self.pulse = Pulse("relay")
        self._thread = threading.Thread(target=self.pulse.watched(self._run), name="relay", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_seconds: float = 10) -> None:
        """Send the messages in memory; those that the bus doesn't take stay in the outbox."""
        self._stopping.set()
        self._fresh.close()
        self._thread.join(timeout_seconds)

    def nudge(self, messages: Sequence[Message]) -> None:
        """Send messages soon. They are in the outbox already, so none is lost if memory is full."""
        if not self._bus_away:
            self._fresh.add(messages)

    def send_due(self) -> int:
        """Send one batch of the due messages of the outbox; return their number."""
        taken = self._db.write(self._take_due)
        if taken:
            crash.at(Point.RELAY_TAKEN)
        try:
            arrived = self._send(taken)
        except errors.Unavailable:
            # No message was sent: the next attempt must not wait for the delay of a sent message.
            self._db.write(lambda conn, now: outbox.put_back(conn, [message.id for message in taken], now))
            raise
        if missing := [message.id for message in taken if message.id not in arrived]:
            self._db.write(lambda conn, now: outbox.bring_forward(conn, missing, now + LONGEST_UNARRIVED))
        return len(taken)

    def _run(self) -> None:
        while not self._stopping.is_set() or self._fresh:
            try:
                batch = self._next_batch()
                with self.pulse:
                    self._send(batch)
                    if not self._stopping.is_set() and time.monotonic() >= self._next_sweep:
                        full = self.send_due() >= self._batch
                        self._bus_away = False
                        self._next_sweep = time.monotonic() + (0 if full else self._interval)
            except errors.Unavailable as error:
                self._wait_for_bus(error)
            except SQLAlchemyError as error:
                LOG.warning("Database error in the relay; unsent messages are retried: %s", fields(reason=error))
                self._stopping.wait(self._interval)
            except Exception:
                LOG.exception("Relay loop failed; unsent messages stay in the outbox and are retried.")
                self._stopping.wait(self._interval)

    def _next_batch(self) -> list[Message]:
        """Return the messages in memory; wait for the first until the next sweep."""
        return self._fresh.take(self._batch, max(0.0, self._next_sweep - time.monotonic()))

    def _wait_for_bus(self, error: errors.Unavailable) -> None:
        """Wait before the next attempt, and forget the messages in memory: they are sent from the outbox later."""
        LOG.warning("Bus unavailable; the relay retries: %s", fields(retry_seconds=self._interval, reason=error))
        self._bus_away = True
        self._fresh.clear()
        self._next_sweep = time.monotonic() + self._interval
        self._stopping.wait(self._interval)

    def _take_due(self, conn: Connection, now: datetime) -> list[Message]:
        due = outbox.take(conn, now, self._batch)
        next_sends = {
            message.id: now + min(FIRST_DELAY * 2 ** min(sends, 10), LONGEST_DELAYS[message.kind])
            for message, sends in due
        }
        outbox.postpone(conn, next_sends)
        if due:
            crash.at(Point.RELAY_UNCOMMITTED)
        return [message for message, _ in due]

    def _send(self, batch: Sequence[Message]) -> set[str]:
        """Send messages, and delete the notifications that have arrived; return the ids of all that have arrived."""
        if not batch:
            return set()
        crash.at(Point.RELAY_SENDING)
        now = datetime.now(UTC)
        publications = [one for message in batch for one in envelope.publications(message, self._names, now)]
        arrived = self._bus.send(publications) if publications else set()
        crash.at(Point.RELAY_CONFIRMED)
        # A message without a publication has no topic, so it needs no sending.
        arrived |= {message.id for message in batch} - {one.message_id for one in publications}
        done = [message.id for message in batch if message.kind is Kind.NOTIFICATION and message.id in arrived]
        if done:
            self._db.write(lambda conn, _: outbox.forget(conn, done))
        return arrived
