"""A fake bus, and messages in the outbox."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn

from snapmanage.bus import Consumer, Handle, Probe, Publication, no_probe
from snapmanage.bus.names import Names
from snapmanage.core import events
from snapmanage.core.events import Step
from snapmanage.core.outbox import Message, notifications
from snapmanage.core.outbox import cast as cast_of
from snapmanage.relay import Relay
from snapmanage.store import outbox
from snapmanage.store.engine.database import Database
from tests import examples
from tests.examples import NOW, REQUESTER, new_id

AN_HOUR = 3600.0
NAMES = Names(notification_topics=("notifications", "billing"))


class FakeBus:
    """A bus that records the batches that it was sent."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Publication]] = []
        self.full: set[str] = set()
        self.failure: Exception | None = None
        self.refusals = 0
        self.open = threading.Event()
        self.open.set()

    @property
    def sent(self) -> list[str]:
        return [publication.message_id for batch in self.batches for publication in batch]

    def send(self, publications: Sequence[Publication]) -> set[str]:
        """Record a batch, except for messages to a full queue; wait while the bus isn't open."""
        assert self.open.wait(20)
        if (failure := self.failure) is not None:
            self.refusals += 1
            raise failure
        self.batches.append(publications)
        return {each.message_id for each in publications} - {
            each.message_id for each in publications if each.routing_key in self.full
        }

    def consume(self, queues: Sequence[str], handle: Handle, probe: Probe = no_probe) -> Consumer:
        raise NotImplementedError

    def call(self, server: str, method: str, arguments: Mapping[str, Any], context: Mapping[str, Any]) -> NoReturn:
        raise NotImplementedError

    def reply(self, queue: str, body: bytes) -> None:
        raise NotImplementedError

    def ping(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


@contextmanager
def running(made: Relay) -> Iterator[Relay]:
    made.start()
    try:
        yield made
    finally:
        made.stop()


def relay_of(database: Database, bus: FakeBus, **options: Any) -> Relay:
    return Relay(database, bus, NAMES, **options)


def cast() -> Message:
    return cast_of(examples.snapshot(id=new_id()))


def notification() -> Message:
    event = events.announce(examples.snapshot(id=new_id()), Step.START, NOW)
    return notifications(event, REQUESTER, both_dialects=False)[0]


def post(database: Database, *posted: Message, hold: float = 0) -> list[Message]:
    database.write(lambda conn, now: outbox.add(conn, posted, now, now + timedelta(seconds=hold)))
    return list(posted)


def waiting(database: Database) -> int:
    with database.read() as conn:
        return outbox.waiting(conn)
