"""The relay: it loses no message of the outbox, and stops sending a message that has arrived."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn

import pytest

from snapmanage import errors, relay
from snapmanage.bus import Consumer, Handle, Probe, Publication, no_probe
from snapmanage.bus.names import Names
from snapmanage.core import events
from snapmanage.core.events import Step
from snapmanage.core.outbox import Message, notifications
from snapmanage.core.outbox import cast as cast_of
from snapmanage.relay import Relay
from snapmanage.store import outbox
from snapmanage.store.engine.database import Database
from snapmanage.testing.clock import FakeClock
from snapmanage.testing.waiting import until
from tests import examples
from tests.examples import ASKED, NOW, SERVER, new_id

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

    def close(self) -> None:
        raise NotImplementedError


@pytest.fixture
def bus() -> FakeBus:
    return FakeBus()


@contextmanager
def running(made: Relay) -> Iterator[Relay]:
    made.start()
    try:
        yield made
    finally:
        made.stop()


def idle(database: Database, bus: FakeBus, **options: Any) -> Relay:
    return Relay(database, bus, NAMES, **options)


def cast() -> Message:
    return cast_of(examples.snapshot(id=new_id()))


def notification() -> Message:
    event = events.announce(examples.snapshot(id=new_id()), Step.START, NOW)
    return notifications(event, ASKED, both_dialects=False)[0]


def post(database: Database, *posted: Message, hold: float = 0) -> list[Message]:
    database.write(lambda conn, now: outbox.add(conn, posted, now, now + timedelta(seconds=hold)))
    return list(posted)


def waiting(database: Database) -> int:
    with database.read() as conn:
        return outbox.waiting(conn)


def test_notification_is_deleted_once_every_topic_has_it(database: Database, bus: FakeBus) -> None:
    (posted,) = post(database, notification())

    assert idle(database, bus).send_due() == 1

    assert bus.sent == [posted.id] * 2
    assert {publication.routing_key for publication in bus.batches[0]} == {"notifications.info", "billing.info"}
    assert waiting(database) == 0


def test_notification_is_sent_again_until_every_topic_has_it(
    database: Database, bus: FakeBus, clock: FakeClock
) -> None:
    (posted,) = post(database, notification())
    bus.full.add("billing.info")
    idle(database, bus).send_due()
    assert waiting(database) == 1

    bus.full.clear()
    clock.advance(seconds=5)
    idle(database, bus).send_due()

    assert bus.sent == [posted.id] * 4
    assert waiting(database) == 0


def test_cast_is_sent_again_after_longer_and_longer_delays_until_it_is_accepted(
    database: Database, bus: FakeBus, clock: FakeClock
) -> None:
    (posted,) = post(database, cast())
    carrier = idle(database, bus)

    rests = [5 * 2**number for number in range(10)] + [3600, 3600]
    assert carrier.send_due() == 1
    for seconds in rests:
        carried_after(carrier, clock, seconds)

    assert bus.sent == [posted.id] * (1 + len(rests))
    assert waiting(database) == 1


def test_notification_that_does_not_arrive_is_sent_at_least_each_minute(
    database: Database, bus: FakeBus, clock: FakeClock
) -> None:
    post(database, notification())
    bus.full.add("billing.info")
    carrier = idle(database, bus)

    assert carrier.send_due() == 1
    for seconds in (5, 10, 20, 40, 60, 60):
        carried_after(carrier, clock, seconds)


def test_cast_that_does_not_arrive_is_sent_at_least_each_minute(
    database: Database, bus: FakeBus, clock: FakeClock
) -> None:
    post(database, cast())
    bus.full.add(NAMES.server_queue(SERVER))
    carrier = idle(database, bus)

    assert carrier.send_due() == 1
    for seconds in (5, 10, 20, 40, 60, 60, 60):
        carried_after(carrier, clock, seconds)


def carried_after(carrier: Relay, clock: FakeClock, seconds: float) -> None:
    """Assert that a message is sent again after a delay, and not before."""
    clock.advance(seconds=seconds - 0.001)
    assert carrier.send_due() == 0
    clock.advance(seconds=0.001)
    assert carrier.send_due() == 1


def test_delays_of_a_cast_start_anew_when_its_server_starts(database: Database, bus: FakeBus, clock: FakeClock) -> None:
    post(database, cast())
    carrier = idle(database, bus)
    for _ in range(20):
        carrier.send_due()
        clock.advance(hours=1)
    database.write(lambda conn, now: outbox.hurry_casts(conn, SERVER, now))

    assert carrier.send_due() == 1
    carried_after(carrier, clock, 10)


def test_accepted_cast_is_not_sent_again(database: Database, bus: FakeBus, clock: FakeClock) -> None:
    (posted,) = post(database, cast())
    idle(database, bus).send_due()
    database.write(lambda conn, _: outbox.forget_casts(conn, [posted.record_id], posted.name))

    clock.advance(days=1)

    assert idle(database, bus).send_due() == 0


def test_message_keeps_its_id_each_time_it_is_sent(database: Database, bus: FakeBus, clock: FakeClock) -> None:
    post(database, cast())
    carrier = idle(database, bus)

    for _ in range(3):
        carrier.send_due()
        clock.advance(minutes=2)

    bodies = {publication.body for batch in bus.batches for publication in batch}
    assert len(bus.batches) == 3
    assert len(bodies) == 1


def test_one_sending_is_limited_to_a_batch(database: Database, bus: FakeBus) -> None:
    post(database, *(notification() for _ in range(5)))
    carrier = idle(database, bus, batch=2)

    assert [carrier.send_due() for _ in range(4)] == [2, 2, 1, 0]


def test_two_relays_do_not_send_the_same_row_at_the_same_moment(database: Database) -> None:
    posted = post(database, *(cast() for _ in range(40)))
    buses = [FakeBus(), FakeBus()]

    def carry(number: int) -> None:
        while idle(database, buses[number], batch=7).send_due():
            pass

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(carry, range(2)))

    assert sorted(buses[0].sent + buses[1].sent) == sorted(message.id for message in posted)


def test_other_relays_leave_a_new_message_to_the_process_that_wrote_it(
    database: Database, bus: FakeBus, clock: FakeClock
) -> None:
    post(database, cast(), hold=5)

    assert idle(database, bus).send_due() == 0

    clock.advance(seconds=5)
    assert idle(database, bus).send_due() == 1


def test_nudge_is_sent_before_the_next_sweep(database: Database, bus: FakeBus) -> None:
    with running(idle(database, bus, interval_seconds=AN_HOUR)) as carrier:
        posted = post(database, cast(), notification(), hold=AN_HOUR)

        carrier.nudge(posted)

        until(lambda: set(bus.sent) == {message.id for message in posted}, "both to be sent")
        until(lambda: waiting(database) == 1, "the notification to be dropped")


def test_messages_of_a_killed_process_are_sent_by_another(database: Database, bus: FakeBus, clock: FakeClock) -> None:
    post(database, notification(), hold=5)

    with running(idle(database, bus, interval_seconds=0.05)):
        clock.advance(seconds=5)

        until(lambda: waiting(database) == 0, "the notification to be sent")


def test_backlog_is_sent_batch_after_batch_without_a_delay(database: Database, bus: FakeBus) -> None:
    post(database, *(notification() for _ in range(10)))

    with running(idle(database, bus, interval_seconds=AN_HOUR, batch=3)):
        until(lambda: waiting(database) == 0, "the backlog to be sent")


def test_nothing_is_lost_while_the_bus_is_away(database: Database, bus: FakeBus, clock: FakeClock) -> None:
    bus.failure = errors.Unavailable("the broker is away")
    with running(idle(database, bus, interval_seconds=0.05)) as carrier:
        posted = post(database, *(notification() for _ in range(20)), hold=5)
        for message in posted:
            carrier.nudge([message])
        until(lambda: clock.advance(minutes=1) and bus.refusals > 1, "the relay to try again, as time goes by")

        bus.failure = None
        clock.advance(minutes=2)

        until(lambda: waiting(database) == 0, "everything to be sent")
    assert set(bus.sent) == {message.id for message in posted}


def test_memory_stays_empty_while_the_bus_is_away(database: Database, bus: FakeBus) -> None:
    bus.failure = errors.Unavailable("the broker is away")
    bus.open.clear()
    with running(idle(database, bus, interval_seconds=AN_HOUR, batch=1)) as carrier:
        carrier.nudge(post(database, notification(), notification(), hold=AN_HOUR))
        bus.open.set()
        until(lambda: carrier._bus_away, "the relay to notice")
        carrier.nudge(post(database, notification(), hold=AN_HOUR))

        bus.failure = None

    assert bus.sent == []  # a stopping relay sends the messages in memory
    assert waiting(database) == 3


def test_nudge_is_sent_at_once_again_when_the_bus_is_back(database: Database, bus: FakeBus) -> None:
    bus.failure = errors.Unavailable("the broker is away")
    with running(idle(database, bus, interval_seconds=0.05)) as carrier:
        post(database, notification())  # it is due: until it is sent, the relay knows that the bus is away
        until(lambda: carrier._bus_away, "the relay to notice")
        bus.failure = None
        until(lambda: not carrier._bus_away, "the relay to notice again")
        (posted,) = post(database, notification(), hold=AN_HOUR)

        carrier.nudge([posted])

        until(lambda: posted.id in bus.sent, "it to be sent")


def test_unsent_messages_are_due_as_soon_as_the_bus_is_back(database: Database, bus: FakeBus) -> None:
    posted = post(database, cast(), notification())
    bus.failure = errors.Unavailable("the broker is away")
    for _ in range(5):
        with pytest.raises(errors.Unavailable):
            idle(database, bus).send_due()
    bus.failure = None

    assert idle(database, bus).send_due() == 2
    assert set(bus.sent) == {message.id for message in posted}


def test_memory_is_bounded_while_the_bus_is_slow(
    database: Database, bus: FakeBus, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "MEMORY_LIMIT", 10)
    bus.open.clear()
    with running(idle(database, bus, interval_seconds=AN_HOUR, batch=5)) as carrier:
        posted = post(database, *(notification() for _ in range(100)), hold=5)
        for message in posted:
            carrier.nudge([message])

        bus.open.set()

    assert 0 < len(set(bus.sent)) <= 15
    clock.advance(seconds=5)
    while idle(database, bus).send_due():
        pass
    assert set(bus.sent) == {message.id for message in posted}


def test_relay_survives_an_unexpected_error(database: Database, bus: FakeBus) -> None:
    bus.failure = ValueError("odd")
    with running(idle(database, bus, interval_seconds=0.05)) as carrier:
        carrier.nudge(post(database, cast(), hold=AN_HOUR))
        until(lambda: bus.refusals, "the relay to fail")
        bus.failure = None
        (posted,) = post(database, cast(), hold=AN_HOUR)
        carrier.nudge([posted])

        until(lambda: posted.id in bus.sent, "the relay to go on")


def test_stopping_relay_sends_the_messages_in_memory(database: Database, bus: FakeBus) -> None:
    bus.open.clear()
    carrier = idle(database, bus, interval_seconds=AN_HOUR)
    carrier.start()
    posted = post(database, *(cast() for _ in range(3)), hold=AN_HOUR)
    for message in posted:
        carrier.nudge([message])

    bus.open.set()
    carrier.stop()

    assert set(bus.sent) == {message.id for message in posted}


def test_cast_requires_its_server_s_queue_and_a_notification_creates_its_own(database: Database, bus: FakeBus) -> None:
    post(database, cast(), notification())

    idle(database, bus).send_due()

    must_exist = {each.routing_key: each.queue_must_exist for each in bus.batches[0]}
    assert must_exist == {
        f"snapmanage-volume.{SERVER}": True,
        "notifications.info": False,
        "billing.info": False,
    }


def test_notification_without_a_topic_is_deleted(database: Database, bus: FakeBus) -> None:
    post(database, notification())

    Relay(database, bus, Names(notification_topics=())).send_due()

    assert waiting(database) == 0
