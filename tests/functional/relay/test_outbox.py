"""The relay sends each due message of the outbox until it has arrived."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from snapmanage import errors
from snapmanage.bus.names import Names
from snapmanage.relay import Relay
from snapmanage.store import outbox
from snapmanage.store.engine.database import Database
from snapmanage.testing.clock import FakeClock
from tests.examples import SERVER
from tests.functional.relay.helpers import NAMES, FakeBus, cast, notification, post, relay_of, waiting


def test_notification_is_deleted_once_every_topic_has_it(database: Database, bus: FakeBus) -> None:
    (posted,) = post(database, notification())

    assert relay_of(database, bus).send_due() == 1

    assert bus.sent == [posted.id] * 2
    assert {publication.routing_key for publication in bus.batches[0]} == {"notifications.info", "billing.info"}
    assert waiting(database) == 0


def test_notification_is_sent_again_until_every_topic_has_it(
    database: Database, bus: FakeBus, clock: FakeClock
) -> None:
    (posted,) = post(database, notification())
    bus.full.add("billing.info")
    relay_of(database, bus).send_due()
    assert waiting(database) == 1

    bus.full.clear()
    clock.advance(seconds=5)
    relay_of(database, bus).send_due()

    assert bus.sent == [posted.id] * 4
    assert waiting(database) == 0


def test_cast_is_sent_again_after_longer_and_longer_delays_until_it_is_accepted(
    database: Database, bus: FakeBus, clock: FakeClock
) -> None:
    (posted,) = post(database, cast())
    sender = relay_of(database, bus)

    delays = [5 * 2**number for number in range(10)] + [3600, 3600]
    assert sender.send_due() == 1
    for seconds in delays:
        require_sent_after(sender, clock, seconds)

    assert bus.sent == [posted.id] * (1 + len(delays))
    assert waiting(database) == 1


def test_notification_that_does_not_arrive_is_sent_at_least_each_minute(
    database: Database, bus: FakeBus, clock: FakeClock
) -> None:
    post(database, notification())
    bus.full.add("billing.info")
    sender = relay_of(database, bus)

    assert sender.send_due() == 1
    for seconds in (5, 10, 20, 40, 60, 60):
        require_sent_after(sender, clock, seconds)


def test_cast_that_does_not_arrive_is_sent_at_least_each_minute(
    database: Database, bus: FakeBus, clock: FakeClock
) -> None:
    post(database, cast())
    bus.full.add(NAMES.server_queue(SERVER))
    sender = relay_of(database, bus)

    assert sender.send_due() == 1
    for seconds in (5, 10, 20, 40, 60, 60, 60):
        require_sent_after(sender, clock, seconds)


def require_sent_after(sender: Relay, clock: FakeClock, seconds: float) -> None:
    """Assert that a message is sent again after a delay, and not before."""
    clock.advance(seconds=seconds - 0.001)
    assert sender.send_due() == 0
    clock.advance(seconds=0.001)
    assert sender.send_due() == 1


def test_delays_of_a_cast_start_anew_when_its_server_starts(database: Database, bus: FakeBus, clock: FakeClock) -> None:
    post(database, cast())
    sender = relay_of(database, bus)
    for _ in range(20):
        sender.send_due()
        clock.advance(hours=1)
    database.write(lambda conn, now: outbox.hurry_casts(conn, [SERVER], now))

    assert sender.send_due() == 1
    require_sent_after(sender, clock, 10)


def test_accepted_cast_is_not_sent_again(database: Database, bus: FakeBus, clock: FakeClock) -> None:
    (posted,) = post(database, cast())
    relay_of(database, bus).send_due()
    database.write(lambda conn, _: outbox.forget_casts(conn, [posted.record_id], posted.name))

    clock.advance(days=1)

    assert relay_of(database, bus).send_due() == 0


def test_message_keeps_its_id_each_time_it_is_sent(database: Database, bus: FakeBus, clock: FakeClock) -> None:
    post(database, cast())
    sender = relay_of(database, bus)

    for _ in range(3):
        sender.send_due()
        clock.advance(minutes=2)

    bodies = {publication.body for batch in bus.batches for publication in batch}
    assert len(bus.batches) == 3
    assert len(bodies) == 1


def test_relay_sends_at_most_one_batch_at_a_time(database: Database, bus: FakeBus) -> None:
    post(database, *(notification() for _ in range(5)))
    sender = relay_of(database, bus, batch=2)

    assert [sender.send_due() for _ in range(4)] == [2, 2, 1, 0]


def test_two_relays_do_not_send_the_same_row_at_the_same_moment(database: Database) -> None:
    posted = post(database, *(cast() for _ in range(40)))
    buses = [FakeBus(), FakeBus()]

    def send_all(number: int) -> None:
        while relay_of(database, buses[number], batch=7).send_due():
            pass

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(send_all, range(2)))

    assert sorted(buses[0].sent + buses[1].sent) == sorted(message.id for message in posted)


def test_other_relays_leave_a_new_message_to_the_process_that_wrote_it(
    database: Database, bus: FakeBus, clock: FakeClock
) -> None:
    post(database, cast(), hold=5)

    assert relay_of(database, bus).send_due() == 0

    clock.advance(seconds=5)
    assert relay_of(database, bus).send_due() == 1


def test_unsent_messages_are_due_as_soon_as_the_bus_is_back(database: Database, bus: FakeBus) -> None:
    posted = post(database, cast(), notification())
    bus.failure = errors.Unavailable("the broker is away")
    for _ in range(5):
        with pytest.raises(errors.Unavailable):
            relay_of(database, bus).send_due()
    bus.failure = None

    assert relay_of(database, bus).send_due() == 2
    assert set(bus.sent) == {message.id for message in posted}


def test_cast_requires_its_server_s_queue_and_a_notification_creates_its_own(database: Database, bus: FakeBus) -> None:
    post(database, cast(), notification())

    relay_of(database, bus).send_due()

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
