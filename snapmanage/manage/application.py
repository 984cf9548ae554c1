"""The database, the outbox and the rules: everything that a use case needs, and the way it commits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import Connection

from snapmanage import crash
from snapmanage.core.outbox import Message
from snapmanage.crash import Point
from snapmanage.manage.rules import Rules
from snapmanage.manage.transaction import Transaction
from snapmanage.store.engine.database import Database

T = TypeVar("T")


@dataclass(frozen=True)
class OutboxWriter:
    """The way to the bus: a row in the outbox, and a nudge to the relay of this process.

    The relay of this process sends the row at once, so relays of other processes leave it alone for `hold`.
    """

    nudge: Callable[[Sequence[Message]], None] = field(default=lambda messages: None)
    hold: timedelta = timedelta(0)


@dataclass(frozen=True)
class Application:
    """The database, the outbox and the rules that every use case works with."""

    db: Database
    outbox_writer: OutboxWriter
    rules: Rules

    def run(self, work: Callable[[Transaction], T], lock_seconds: int | None = None) -> T:
        """Run `work` in one transaction, again after a deadlock; then hand the messages that it owes to the relay.

        With `lock_seconds`, run it only once, and wait only so long for each locked row.
        """

        def attempt(conn: Connection, now: datetime) -> tuple[T, Transaction]:
            tx = Transaction(conn, now, self.rules, self.outbox_writer.hold)
            return work(tx), tx

        result, committed = self.db.write(attempt, lock_seconds)
        if committed.owed:
            crash.at(Point.OWED_COMMITTED)
            self.outbox_writer.nudge(committed.owed)
        return result
