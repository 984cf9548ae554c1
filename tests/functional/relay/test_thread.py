"""The relay's thread sends new messages at once, and keeps running while the bus is away."""

import pytest

from snapmanage import errors, relay
from snapmanage.store.engine.database import Database
from snapmanage.testing.clock import FakeClock
from snapmanage.testing.waiting import until
from tests.functional.relay.helpers import AN_HOUR, FakeBus, cast, notification, post, relay_of, running, waiting


def test_nudged_messages_are_sent_before_the_next_sweep(database: Database, bus: FakeBus) -> None:
    with running(relay_of(database, bus, interval_seconds=AN_HOUR)) as sender:
        posted = post(database, cast(), notification(), hold=AN_HOUR)

        sender.nudge(posted)

        until(lambda: set(bus.sent) == {message.id for message in posted}, "both to be sent")
        until(lambda: waiting(database) == 1, "the notification to be dropped")


def test_messages_of_a_killed_process_are_sent_by_another(database: Database, bus: FakeBus, clock: FakeClock) -> None:
    post(database, notification(), hold=5)

    with running(relay_of(database, bus, interval_seconds=0.05)):
        clock.advance(seconds=5)

        until(lambda: waiting(database) == 0, "the notification to be sent")


def test_backlog_is_sent_batch_after_batch_without_a_delay(database: Database, bus: FakeBus) -> None:
    post(database, *(notification() for _ in range(10)))

    with running(relay_of(database, bus, interval_seconds=AN_HOUR, batch=3)):
        until(lambda: waiting(database) == 0, "the backlog to be sent")


def test_messages_that_are_posted_while_the_bus_is_away_are_sent_later(
    database: Database, bus: FakeBus, clock: FakeClock
) -> None:
    bus.failure = errors.Unavailable("the broker is away")
    with running(relay_of(database, bus, interval_seconds=0.05)) as sender:
        posted = post(database, *(notification() for _ in range(20)), hold=5)
        for message in posted:
            sender.nudge([message])
        until(lambda: clock.advance(minutes=1) and bus.refusals > 1, "the relay to try again, as time goes by")

        bus.failure = None
        clock.advance(minutes=2)

        until(lambda: waiting(database) == 0, "everything to be sent")
    assert set(bus.sent) == {message.id for message in posted}


def test_relay_keeps_no_message_in_memory_while_the_bus_is_away(
    database: Database, bus: FakeBus, caplog: pytest.LogCaptureFixture
) -> None:
    bus.failure = errors.Unavailable("the broker is away")
    bus.open.clear()
    with running(relay_of(database, bus, interval_seconds=AN_HOUR, batch=1)) as sender:
        sender.nudge(post(database, notification(), notification(), hold=AN_HOUR))
        bus.open.set()
        until(lambda: "Bus unavailable" in caplog.text, "the relay to report that the bus is away")
        sender.nudge(post(database, notification(), hold=AN_HOUR))

        bus.failure = None

    assert bus.sent == []  # a stopping relay sends the messages in memory
    assert waiting(database) == 3


def test_nudged_messages_are_sent_at_once_again_when_the_bus_is_back(database: Database, bus: FakeBus) -> None:
    bus.failure = errors.Unavailable("the broker is away")
    with running(relay_of(database, bus, interval_seconds=0.05)) as sender:
        post(database, notification())  # it is due: the relay finds that the bus is away, and later that it is back
        until(lambda: bus.refusals, "the relay to fail")
        bus.failure = None
        (posted,) = post(database, notification(), hold=AN_HOUR)

        def sent_from_memory() -> bool:
            sender.nudge([posted])
            return posted.id in bus.sent

        until(sent_from_memory, "the nudged notification to be sent")


@pytest.mark.parametrize("at_once", [1, 100])
def test_relay_keeps_a_limited_number_of_messages_in_memory_while_the_bus_is_slow(
    database: Database, bus: FakeBus, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(relay, "MEMORY_LIMIT", 10)
    bus.open.clear()
    with running(relay_of(database, bus, interval_seconds=AN_HOUR, batch=5)) as sender:
        posted = post(database, *(notification() for _ in range(100)), hold=5)
        for start in range(0, 100, at_once):
            sender.nudge(posted[start : start + at_once])

        bus.open.set()

    assert 10 <= len(set(bus.sent)) <= 15
    clock.advance(seconds=5)
    while relay_of(database, bus).send_due():
        pass
    assert set(bus.sent) == {message.id for message in posted}


def test_relay_survives_an_unexpected_error(database: Database, bus: FakeBus) -> None:
    bus.failure = ValueError("odd")
    with running(relay_of(database, bus, interval_seconds=0.05)) as sender:
        sender.nudge(post(database, cast(), hold=AN_HOUR))
        until(lambda: bus.refusals, "the relay to fail")
        bus.failure = None
        (posted,) = post(database, cast(), hold=AN_HOUR)
        sender.nudge([posted])

        until(lambda: posted.id in bus.sent, "the relay to send the next message")


def test_stopping_relay_sends_the_messages_in_memory(database: Database, bus: FakeBus) -> None:
    bus.open.clear()
    sender = relay_of(database, bus, interval_seconds=AN_HOUR)
    sender.start()
    posted = post(database, *(cast() for _ in range(3)), hold=AN_HOUR)
    for message in posted:
        sender.nudge([message])

    bus.open.set()
    sender.stop()

    assert set(bus.sent) == {message.id for message in posted}


def test_relay_that_hangs_in_a_send_has_a_hung_turn(database: Database, bus: FakeBus) -> None:
    bus.open.clear()
    with running(relay_of(database, bus, interval_seconds=AN_HOUR)) as sender:
        sender.nudge(post(database, cast(), hold=AN_HOUR))

        until(lambda: sender.pulse.problem(0.1), "the turn to be too long")

        bus.open.set()
        until(lambda: sender.pulse.problem(-1) is None, "the relay to be idle again")
