"""What every use case works with, and how it commits: state and messages together, then a nudge."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import Connection

from snapmanage import crash
from snapmanage.core.lifecycle import Retry
from snapmanage.core.outbox import Message
from snapmanage.core.quotas import NO_LIMIT, Amount
from snapmanage.crash import Point
from snapmanage.store import outbox
from snapmanage.store.engine.database import Database

T = TypeVar("T")


@dataclass(frozen=True)
class Rules:
    """What the configuration says about operations."""

    lease: timedelta = timedelta(seconds=60)
    retry: Retry = field(default_factory=lambda: Retry(5, timedelta(seconds=1), timedelta(seconds=60)))
    service_down: timedelta = timedelta(seconds=60)
    quota: Amount = NO_LIMIT
    name_template: str = "snapshot-%s"
    both_dialects: bool = False
    idempotency_key_ttl: timedelta = timedelta(days=1)


@dataclass(frozen=True)
class OutboxWriter:
    """The way to the bus: a row in the outbox, and a nudge to the relay of this process.

    Other relays leave a row alone for `hold`, since this process sends it at once.
    """

    nudge: Callable[[Sequence[Message]], None] = field(default=lambda messages: None)
    hold: timedelta = timedelta(0)


@dataclass(frozen=True)
class Application:
    """What every use case works with."""

    db: Database
    outbox_writer: OutboxWriter
    rules: Rules


def commit(app: Application, write: Callable[[Connection, datetime], tuple[T, list[Message]]]) -> T:
    """Write, then let the relay have what is owed to the bus."""
    result, owed = app.db.write(write)
    if owed:
        crash.at(Point.OWED_COMMITTED)
        app.outbox_writer.nudge(owed)
    return result


def post(app: Application, conn: Connection, owed: list[Message], now: datetime) -> list[Message]:
    """Put messages into the outbox, in the transaction that they tell of."""
    outbox.add(conn, owed, now, now + app.outbox_writer.hold)
    return owed
