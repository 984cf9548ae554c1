"""A message that kills whoever handles it ends in the quarantine, and takes nobody along.

The broker delivers again what was in a dead process's hands, and says so. What was delivered before is
handled alone, and it is written down beforehand that it is: whoever dies of it leaves that behind. A
broker counts deliveries too, but drops what exceeds its limit. A handler that raises isn't dead: its attempt
is taken back, so that nobody's restarts while something is away make a good message look deadly.
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
from snapmanage.crash import Point
from snapmanage.store import quarantine, redeliveries
from snapmanage.store.engine.database import Database

LOG = logging.getLogger(__name__)

# Nobody comes for a message again that another process handled before this one counted it and died, or that was taken
# off its queue. Should one come so late after all, its deaths count from the first.
SUSPECTED_FOR = timedelta(days=7)
# Dropped by each that is counted, when they are too old: more than one, so that they get fewer.
FORGOTTEN_AT_ONCE = 10


class Handler(Protocol):
    """Who handles batches, and can put a message aside."""

    def __call__(self, batch: Sequence[Delivery]) -> None: ...

    def put_aside(self, delivery: Delivery, reason: str, read: bool = True) -> None:
        """Into the quarantine; without `read` its content is not looked at."""


class PoisonMessageGuard:
    """The handler `inner`, which is spared what `max_attempts` processes have died of."""

    def __init__(self, inner: Handler, db: Database, max_attempts: int) -> None:
        self._inner = inner
        self._db = db
        self._max_attempts = max_attempts
        self._counted: dict[str, int] = {}  # what couldn't be taken back is the same attempt when it is tried again

    def __call__(self, batch: Sequence[Delivery]) -> None:
        for delivery in batch:
            if delivery.redelivered:
                self._handle_alone(delivery)
        fresh = [delivery for delivery in batch if not delivery.redelivered]
        if fresh:
            self._inner(fresh)

    def probe(self) -> None:
        """Raise unless the database can be written; take back the attempts that it could not be told of.

        By now another process may have handled their messages, which changes nothing.
        """
        unhandled = list(self._counted)
        self._db.write(partial(_probe, unhandled))
        for key in unhandled:
            del self._counted[key]

    def _handle_alone(self, delivery: Delivery) -> None:
        key = quarantine.key(delivery.queue, delivery.body)
        attempts = self._attempts(key)
        crash.at(Point.SUSPECTED)
        try:
            self._handle(delivery, attempts)
        except Exception:
            self._take_back(key)
            raise
        crash.at(Point.SUSPECT_HANDLED)
        self._db.write(lambda conn, _: redeliveries.delete_count(conn, key))
        del self._counted[key]

    def _handle(self, delivery: Delivery, attempts: int) -> None:
        if attempts > self._max_attempts:
            reason = f"whoever handled it died, {self._max_attempts} times in a row"
            self._inner.put_aside(delivery, reason, read=attempts == self._max_attempts + 1)
        else:
            self._inner([delivery])

    def _attempts(self, key: str) -> int:
        """Which this is."""
        if key not in self._counted:
            self._counted[key] = self._db.write(partial(_count, key))
        return self._counted[key]

    def _take_back(self, key: str) -> None:
        """Count an attempt no more, as far as the database can be reached."""
        try:
            self._db.write(lambda conn, _: redeliveries.uncount_attempt(conn, key))
        except SQLAlchemyError as error:
            LOG.warning("An attempt stays counted for now, since the database doesn't answer: %s", error)
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
    redeliveries.delete_older(conn, now - SUSPECTED_FOR, FORGOTTEN_AT_ONCE)
    return attempts
