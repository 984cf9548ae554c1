"""What was delivered before is handled alone, counted beforehand, and put aside when it killed too often."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import sqlalchemy as sa

from snapmanage.bus import Delivery
from snapmanage.manage.suspicion import Suspicious
from snapmanage.store import tables
from snapmanage.store.database import Database

POISON = Delivery("queue", b"poison", again=True)
NEIGHBOUR = Delivery("queue", b"neighbour", again=True)
FRESH = [Delivery("queue", b"first"), Delivery("queue", b"second")]
MAX_ATTEMPTS = 3


class Death(BaseException):
    """Stands for the end of the process: nothing after it happens."""


class Mortal:
    """A handler that dies of poison."""

    def __init__(self, death: BaseException) -> None:
        self.death = death
        self.batches: list[list[bytes]] = []
        self.put_asides: list[tuple[bytes, bool]] = []

    def __call__(self, batch: Sequence[Delivery]) -> None:
        self.batches.append([delivery.body for delivery in batch])
        if POISON.body in self.batches[-1]:
            raise self.death

    def put_aside(self, delivery: Delivery, reason: str, read: bool = True) -> None:
        assert str(MAX_ATTEMPTS) in reason
        self.put_asides.append((delivery.body, read))


def suspects(database: Database) -> list[int]:
    with database.read() as conn:
        return list(conn.execute(sa.select(tables.suspects.c.attempts)).scalars())


def die(mortal: Mortal, database: Database, batch: Sequence[Delivery]) -> None:
    """A process of its own takes the batch."""
    with pytest.raises(Death):
        Suspicious(mortal, database, MAX_ATTEMPTS)(batch)


def test_what_comes_for_the_first_time_is_handled_together_and_not_counted(database: Database) -> None:
    mortal = Mortal(Death())

    Suspicious(mortal, database, MAX_ATTEMPTS)(FRESH)

    assert mortal.batches == [[b"first", b"second"]]
    assert suspects(database) == []


def test_what_was_delivered_before_is_handled_alone_and_forgotten(database: Database) -> None:
    mortal = Mortal(Death())

    Suspicious(mortal, database, MAX_ATTEMPTS)([*FRESH, NEIGHBOUR, replace(NEIGHBOUR, body=b"another")])

    assert mortal.batches == [[b"neighbour"], [b"another"], [b"first", b"second"]]
    assert suspects(database) == []


def test_poison_is_put_aside_after_so_many_deaths_and_its_neighbours_go_on(database: Database) -> None:
    mortal = Mortal(Death())
    for attempt in range(1, MAX_ATTEMPTS + 1):
        die(mortal, database, [NEIGHBOUR, POISON, *FRESH])
        assert suspects(database) == [attempt]

    Suspicious(mortal, database, MAX_ATTEMPTS)([NEIGHBOUR, POISON, *FRESH])

    assert mortal.put_asides == [(b"poison", True)]
    assert mortal.batches[-1] == [b"first", b"second"]
    assert suspects(database) == []


def test_poison_that_kills_whoever_reads_it_to_put_it_aside_is_put_aside_unread(database: Database) -> None:
    mortal = Mortal(Death())
    for _ in range(MAX_ATTEMPTS):
        die(mortal, database, [POISON])
    died_of_reading = Mortal(Death())
    died_of_reading.put_asides = None  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        Suspicious(died_of_reading, database, MAX_ATTEMPTS)([POISON])

    Suspicious(mortal, database, MAX_ATTEMPTS)([POISON])

    assert mortal.put_asides == [(b"poison", False)]


def test_what_fails_again_and_again_in_one_process_is_one_attempt(database: Database) -> None:
    mortal = Mortal(ValueError("the database is away"))
    handle = Suspicious(mortal, database, MAX_ATTEMPTS)

    for _ in range(2 * MAX_ATTEMPTS):
        with pytest.raises(ValueError, match="away"):
            handle([POISON])

    assert suspects(database) == [1]
    assert mortal.put_asides == []
