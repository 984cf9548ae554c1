"""A redelivered message is counted, handled alone, and quarantined after too many deaths."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from snapmanage.bus import Delivery
from snapmanage.manage.maintenance.redelivery import OLD_ROWS_PER_ATTEMPT, PoisonMessageGuard
from snapmanage.store import redeliveries
from snapmanage.store.engine.database import Database
from snapmanage.store.mapping import tables
from snapmanage.testing.clock import FakeClock

POISON = Delivery("queue", b"poison", redelivered=True)
NEIGHBOUR = Delivery("queue", b"neighbour", redelivered=True)
FRESH = [Delivery("queue", b"first"), Delivery("queue", b"second")]
MAX_ATTEMPTS = 3
AWAY = ValueError("the database is away")


class Death(BaseException):
    """The end of the process, as an exception."""


class DyingHandler:
    """A handler that dies of the poison message."""

    def __init__(self, death: BaseException | None, death_by_reading: BaseException | None = None) -> None:
        self.death = death
        self.death_by_reading = death_by_reading
        self.batches: list[list[bytes]] = []
        self.quarantined: list[tuple[bytes, bool]] = []

    def __call__(self, batch: Sequence[Delivery]) -> None:
        self.batches.append([delivery.body for delivery in batch])
        if self.death and POISON.body in self.batches[-1]:
            raise self.death

    def quarantine(self, delivery: Delivery, reason: str, read: bool = True) -> None:
        assert str(MAX_ATTEMPTS) in reason
        if self.death_by_reading and read:
            raise self.death_by_reading
        self.quarantined.append((delivery.body, read))


def suspects(database: Database) -> list[int]:
    with database.read() as conn:
        return list(conn.execute(sa.select(tables.suspects.c.attempts)).scalars())


def die_handling(handler: DyingHandler, database: Database, batch: Sequence[Delivery]) -> None:
    """Let another process die while it handles the batch."""
    with pytest.raises(Death):
        PoisonMessageGuard(handler, database, MAX_ATTEMPTS)(batch)


def fail(handle: PoisonMessageGuard) -> None:
    """Let a handler fail at the message without the death of its process."""
    with pytest.raises(ValueError, match="away"):
        handle([POISON])


def test_first_deliveries_are_handled_together_and_not_counted(database: Database) -> None:
    handler = DyingHandler(Death())

    PoisonMessageGuard(handler, database, MAX_ATTEMPTS)(FRESH)

    assert handler.batches == [[b"first", b"second"]]
    assert suspects(database) == []


def test_redelivered_message_is_handled_alone_and_its_count_is_forgotten(database: Database) -> None:
    handler = DyingHandler(Death())

    PoisonMessageGuard(handler, database, MAX_ATTEMPTS)([*FRESH, NEIGHBOUR, replace(NEIGHBOUR, body=b"another")])

    assert handler.batches == [[b"neighbour"], [b"another"], [b"first", b"second"]]
    assert suspects(database) == []


def test_poison_message_is_quarantined_after_the_maximum_of_deaths_and_the_others_are_handled(
    database: Database,
) -> None:
    handler = DyingHandler(Death())
    for attempt in range(1, MAX_ATTEMPTS + 1):
        die_handling(handler, database, [NEIGHBOUR, POISON, *FRESH])
        assert suspects(database) == [attempt]

    PoisonMessageGuard(handler, database, MAX_ATTEMPTS)([NEIGHBOUR, POISON, *FRESH])

    assert handler.quarantined == [(b"poison", True)]
    assert handler.batches[-1] == [b"first", b"second"]
    assert suspects(database) == []


def test_poison_message_that_kills_its_parser_is_quarantined_unread(database: Database) -> None:
    handler = DyingHandler(Death())
    for _ in range(MAX_ATTEMPTS):
        die_handling(handler, database, [POISON])
    die_handling(DyingHandler(Death(), death_by_reading=Death()), database, [POISON])

    PoisonMessageGuard(handler, database, MAX_ATTEMPTS)([POISON])

    assert handler.quarantined == [(b"poison", False)]


def test_failure_of_a_handler_is_not_counted_as_a_death(database: Database) -> None:
    handler = DyingHandler(AWAY)

    for _ in range(2 * MAX_ATTEMPTS):
        fail(PoisonMessageGuard(handler, database, MAX_ATTEMPTS))

    assert suspects(database) == []
    handler.death = None
    PoisonMessageGuard(handler, database, MAX_ATTEMPTS)([POISON])
    assert handler.quarantined == []


def test_deaths_before_and_after_a_failure_are_counted(database: Database) -> None:
    die_handling(DyingHandler(Death()), database, [POISON])
    fail(PoisonMessageGuard(DyingHandler(AWAY), database, MAX_ATTEMPTS))

    die_handling(DyingHandler(Death()), database, [POISON])

    assert suspects(database) == [2]


def test_message_is_still_read_when_its_quarantine_is_retried(database: Database) -> None:
    handler = DyingHandler(Death(), death_by_reading=AWAY)
    for _ in range(MAX_ATTEMPTS):
        die_handling(handler, database, [POISON])
    fail(PoisonMessageGuard(handler, database, MAX_ATTEMPTS))
    handler.death_by_reading = None

    PoisonMessageGuard(handler, database, MAX_ATTEMPTS)([POISON])

    assert handler.quarantined == [(b"poison", True)]


def test_failures_without_the_database_are_one_attempt(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = DyingHandler(AWAY)
    handle = PoisonMessageGuard(handler, database, MAX_ATTEMPTS)
    with monkeypatch.context() as patch:
        patch.setattr(redeliveries, "uncount_attempt", away)
        for _ in range(2 * MAX_ATTEMPTS):
            fail(handle)

    assert suspects(database) == [1]
    handler.death = None
    handle([POISON])
    assert suspects(database) == []
    assert handler.quarantined == []


def test_attempt_that_could_not_be_uncounted_is_uncounted_by_the_next_successful_probe(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = PoisonMessageGuard(DyingHandler(AWAY), database, MAX_ATTEMPTS)
    with monkeypatch.context() as patch:
        patch.setattr(redeliveries, "uncount_attempt", away)
        fail(handle)
        with pytest.raises(OperationalError):
            handle.probe()
    assert suspects(database) == [1]

    handle.probe()

    assert suspects(database) == []


def test_probe_leaves_the_deaths_that_other_processes_counted(database: Database) -> None:
    die_handling(DyingHandler(Death()), database, [POISON])

    PoisonMessageGuard(DyingHandler(None), database, MAX_ATTEMPTS).probe()

    assert suspects(database) == [1]


def test_probe_fails_if_the_database_can_be_read_but_not_written(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redeliveries, "count_attempt", away_with)

    with pytest.raises(OperationalError):
        PoisonMessageGuard(DyingHandler(None), database, MAX_ATTEMPTS).probe()


def test_count_of_a_message_that_is_never_redelivered_is_forgotten_after_a_week(
    database: Database, clock: FakeClock
) -> None:
    """Another process has handled the message before this one counts it and dies."""
    die_handling(DyingHandler(Death()), database, [POISON])
    handle = PoisonMessageGuard(DyingHandler(None), database, MAX_ATTEMPTS)
    clock.advance(days=6)
    handle([NEIGHBOUR])
    assert suspects(database) == [1]

    clock.advance(days=2)
    handle([NEIGHBOUR])

    assert suspects(database) == []


def test_each_redelivered_message_deletes_ten_counts_that_are_older_than_a_week(
    database: Database, clock: FakeClock
) -> None:
    for number in range(OLD_ROWS_PER_ATTEMPT + 2):
        database.write(partial(count, str(number)))
    handle = PoisonMessageGuard(DyingHandler(None), database, MAX_ATTEMPTS)

    clock.advance(days=7)
    handle([NEIGHBOUR])
    assert len(suspects(database)) == 12

    clock.advance(microseconds=1)
    handle([NEIGHBOUR])
    assert len(suspects(database)) == 2


def count(key: str, conn: sa.Connection, now: datetime) -> None:
    redeliveries.count_attempt(conn, key, now)


def test_count_of_a_message_that_is_redelivered_late_continues(database: Database, clock: FakeClock) -> None:
    die_handling(DyingHandler(Death()), database, [POISON])
    clock.advance(days=8)

    die_handling(DyingHandler(Death()), database, [POISON])

    assert suspects(database) == [2]


def away(conn: sa.Connection, message_id: str) -> None:
    raise OperationalError("UPDATE", None, ConnectionError("gone"))


def away_with(conn: sa.Connection, message_id: str, now: datetime) -> int:
    raise OperationalError("INSERT", None, OSError("read-only"))
