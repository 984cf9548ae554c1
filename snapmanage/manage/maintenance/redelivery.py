"""Quarantine a poison message: a message that kills each process that handles it.

When a process dies, the broker delivers its messages again and marks them as redelivered. The guard counts the attempts
at a redelivered message in the database before it handles the message, alone. So a process that dies leaves the count
behind. (A broker counts deliveries too, but drops a message that exceeds its limit.) A handler that raises is not dead:
the guard takes its attempt back, so that restarts during an outage don't make a good message look poisonous.
"""

import logging
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from snapmanage import crash
from snapmanage.bus import Delivery
from snapmanage.core.values.logfields import fields
from snapmanage.crash import Point
from snapmanage.store import quarantine, redeliveries
from snapmanage.store.engine.database import Database

LOG = logging.getLogger(__name__)

# The attempts at a message are forgotten after this time: some messages are never delivered again, since another
# process has handled them or an operator has removed them from the queue.
REMEMBERED_FOR = timedelta(days=7)
# Each counted attempt deletes up to this many old rows; more than one, so that the table shrinks.
OLD_ROWS_PER_ATTEMPT = 10


class Handler(Protocol):
    """A handler of batches that can quarantine a message."""

    def __call__(self, batch: Sequence[Delivery]) -> None: ...

    def quarantine(self, delivery: Delivery, reason: str, read: bool = True) -> None:
        """Write a message to the quarantine; without `read`, don't parse its content."""


class PoisonMessageGuard:
    """The handler `inner`, which never receives a message that `max_attempts` processes have died of."""

    def __init__(self, inner: Handler, db: Database, max_attempts: int) -> None:
        self._inner = inner
        self._db = db
        self._max_attempts = max_attempts
        self._counted: dict[str, int] = {}  # attempts that are neither handled nor taken back

    def __call__(self, batch: Sequence[Delivery]) -> None:
        for delivery in batch:
            if delivery.redelivered:
                self._handle_alone(delivery)
        fresh = [delivery for delivery in batch if not delivery.redelivered]
        if fresh:
            self._inner(fresh)

    def probe(self) -> None:
        """Write to the database, and take back the attempts that could not be taken back before; raise if it fails.

        Another process may have handled their messages by now; that does no harm.
        """
        unhandled = list(self._counted)
        self._db.write(partial(_probe, unhandled))
        for key in unhandled:
            del self._counted[key]

    def _handle_alone(self, delivery: Delivery) -> None:
        key = quarantine.key(delivery.queue, delivery.body)
        if key not in self._counted:  # a retry after an error is the same attempt
            self._counted[key] = self._db.write(partial(_count, key))
        attempt = self._counted[key]
        crash.at(Point.REDELIVERY_COUNTED)
        try:
            if attempt > self._max_attempts:
                reason = f"{self._max_attempts} processes in a row died while they handled it"
                self._inner.quarantine(delivery, reason, read=attempt == self._max_attempts + 1)
            else:
                self._inner([delivery])
        except Exception:
            self._take_back(key)
            raise
        crash.at(Point.REDELIVERY_HANDLED)
        self._db.write(lambda conn, _: redeliveries.delete_count(conn, key))
        del self._counted[key]

    def _take_back(self, key: str) -> None:
        """Stop counting an attempt; if the database can't be written, `probe` does it later."""
        try:
            self._db.write(lambda conn, _: redeliveries.uncount_attempt(conn, key))
        except SQLAlchemyError as error:
            LOG.warning(
                "Database error; a failed attempt stays counted until the next probe: %s",
                fields(message=key, reason=error),
            )
        else:
            del self._counted[key]


def _probe(unhandled: Sequence[str], conn: Connection, now: datetime) -> None:
    key = quarantine.key("probe", uuid.uuid4().bytes)
    redeliveries.count_attempt(conn, key, now)
    redeliveries.delete_count(conn, key)
    for each in unhandled:
        redeliveries.uncount_attempt(conn, each)


def _count(key: str, conn: Connection, now: datetime) -> int:
    attempts = redeliveries.count_attempt(conn, key, now)
    redeliveries.delete_older(conn, now - REMEMBERED_FOR, OLD_ROWS_PER_ATTEMPT)
    return attempts
