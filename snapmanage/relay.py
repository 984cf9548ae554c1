"""From the outbox to the bus.

What this process writes is sent from memory right after its commit; the table is read back for
what was left over, by whichever relay comes first. A notification is dropped once it has arrived; a
cast is put off, longer each time, until its server has accepted it.
"""

import logging
import queue
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from snapmanage import crash, errors
from snapmanage.bus import Bus, envelope
from snapmanage.bus.names import Names
from snapmanage.core.outbox import Kind, Message
from snapmanage.crash import Point
from snapmanage.store import outbox
from snapmanage.store.engine.database import Database

LOG = logging.getLogger(__name__)

MEMORY_LIMIT = 10_000
FIRST_DELAY = timedelta(seconds=5)
# What didn't arrive is tried each minute. A cast that did is in its server's queue, and once more for each time that
# it is sent: a server that is away for a day must find a few.
LONGEST_UNARRIVED = timedelta(minutes=1)
LONGEST_DELAYS = {Kind.NOTIFICATION: LONGEST_UNARRIVED, Kind.CAST: timedelta(hours=1)}


class Relay:
    """One thread that sends. `interval_seconds` is how often the table is read; `batch` bounds one sending."""

    def __init__(self, db: Database, bus: Bus, names: Names, interval_seconds: float = 1.0, batch: int = 200) -> None:
        self._db = db
        self._bus = bus
        self._names = names
        self._interval = interval_seconds
        self._batch = batch
        self._fresh: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._next_sweep = 0.0
        self._away = False
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_seconds: float = 10) -> None:
        """Send what is in memory, as far as the bus takes it; what isn't sent is in the table."""
        self._stopping.set()
        self._fresh.put(None)
        self._thread.join(timeout_seconds)

    def nudge(self, messages: Sequence[Message]) -> None:
        """Send these now; they are in the outbox already, so that none is lost when there are too many."""
        if self._fresh.qsize() < MEMORY_LIMIT and not self._away:
            for message in messages:
                self._fresh.put(message)

    def carry_due(self) -> int:
        """Send what is due in the table, one batch; return how many were taken."""
        taken = self._db.write(self._take)
        if taken:
            crash.at(Point.RELAY_TAKEN)
        try:
            arrived = self._send(taken)
        except errors.Unavailable:
            # They were never sent: once the bus is back, they mustn't rest as long as it was away.
            self._db.write(lambda conn, now: outbox.put_back(conn, [message.id for message in taken], now))
            raise
        if missing := [message.id for message in taken if message.id not in arrived]:
            self._db.write(lambda conn, now: outbox.bring_forward(conn, missing, now + LONGEST_UNARRIVED))
        return len(taken)

    def _run(self) -> None:
        while not self._stopping.is_set() or not self._fresh.empty():
            try:
                self._send(self._gather())
                self._sweep_when_due()
            except errors.Unavailable as error:
                self._bus_is_away(error)
            except SQLAlchemyError as error:
                LOG.warning("The database doesn't answer, the relay waits: %s", error)
                self._stopping.wait(self._interval)
            except Exception:
                LOG.exception("The relay stumbled; what it held is sent again later.")
                self._stopping.wait(self._interval)

    def _gather(self) -> list[Message]:
        """Wait for a fresh message until the next sweep, then take what else there is."""
        try:
            first = self._fresh.get(timeout=max(0.0, self._next_sweep - time.monotonic()))
        except queue.Empty:
            return []
        batch = [first] + [self._fresh.get() for _ in range(min(self._fresh.qsize(), self._batch - 1))]
        return [message for message in batch if message is not None]

    def _sweep_when_due(self) -> None:
        if self._stopping.is_set() or time.monotonic() < self._next_sweep:
            return
        full = self.carry_due() >= self._batch
        self._away = False
        self._next_sweep = time.monotonic() + (0 if full else self._interval)

    def _bus_is_away(self, error: errors.Unavailable) -> None:
        """Forget what is in memory: it is in the table, and goes out from there."""
        LOG.warning("%s; the relay tries again in %g s.", error, self._interval)
        self._away = True
        while not self._fresh.empty():
            self._fresh.get()
        self._next_sweep = time.monotonic() + self._interval
        self._stopping.wait(self._interval)

    def _take(self, conn: Connection, now: datetime) -> list[Message]:
        due = outbox.take(conn, now, self._batch)
        outbox.postpone(conn, {message.id: now + _delay(message.kind, sends) for message, sends in due})
        if due:
            crash.at(Point.RELAY_UNCOMMITTED)
        return [message for message, _ in due]

    def _send(self, batch: Sequence[Message]) -> set[str]:
        """Send, and drop the notifications that have arrived; return the ids of all messages that have."""
        if not batch:
            return set()
        crash.at(Point.RELAY_SENDING)
        now = datetime.now(UTC)
        publications = [one for message in batch for one in envelope.publications(message, self._names, now)]
        arrived = self._bus.send(publications) if publications else set()
        crash.at(Point.RELAY_CONFIRMED)
        arrived |= {message.id for message in batch} - {one.message_id for one in publications}  # meant for no topic
        done = [message.id for message in batch if message.kind is Kind.NOTIFICATION and message.id in arrived]
        if done:
            self._db.write(lambda conn, _: outbox.forget(conn, done))
        return arrived


def _delay(kind: Kind, sends: int) -> timedelta:
    doubled: timedelta = FIRST_DELAY * 2 ** min(sends, 10)
    return min(doubled, LONGEST_DELAYS[kind])
