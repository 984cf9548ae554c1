"""The broker's own limits lose nothing: what it drops from a queue is handled all the same, on each version."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import kombu
import pytest
from amqp.exceptions import NotFound

from snapmanage.bus import Delivery, Publication
from snapmanage.bus.rabbit.bus import Publisher
from snapmanage.bus.rabbit.consumer import RabbitConsumer
from snapmanage.bus.rabbit.declaring import DeclaredQueue, declare_dead_letters
from snapmanage.bus.rabbit.topology import DEAD_LETTERS, Topology, version_of
from snapmanage.testing.services.process import unique
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.integration.test_rabbit import connector, fail, left, to
from tests.services.trixie import BROKERS, TrixieRabbitMQ
from tests.services.wire import wire_to


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> RabbitMQ:
    made: RabbitMQ = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def topology() -> Topology:
    return Topology(unique("exchange"))


@pytest.fixture
def queue() -> str:
    return unique("volume")


@pytest.fixture
def publisher(broker: RabbitMQ, topology: Topology) -> Iterator[Publisher]:
    made = Publisher(connector(broker), topology)
    yield made
    made.close()


@contextmanager
def policy(broker: RabbitMQ, pattern: str, definition: str) -> Iterator[None]:
    """A policy for all queues whose names match."""
    name = unique("policy")
    broker.control("set_policy", name, pattern, definition, "--apply-to", "queues")
    try:
        yield
    finally:
        broker.control("clear_policy", name)


@contextmanager
def consuming(broker: RabbitMQ, topology: Topology, *queues: str) -> Iterator[list[Delivery]]:
    """What a consumer is handed."""
    handed: list[Delivery] = []
    consumer = RabbitConsumer(connector(broker), topology, queues, handed.extend, 200)
    consumer.start()
    try:
        yield handed
    finally:
        consumer.stop()
        consumer.join(20)


def die_with_it(broker: RabbitMQ, queue: str) -> None:
    """Take the queue's first message, and break the connection."""
    with connector(broker)(0) as connection:
        channel = connection.channel()
        until(lambda: channel.basic_get(queue), "the message")
        connection.collect()


def exists(broker: RabbitMQ, queue: str) -> bool:
    with connector(broker)(0) as connection, suppress(NotFound):
        connection.default_channel.queue_declare(queue, passive=True)
        return True
    return False


def bodies(handed: list[Delivery]) -> set[bytes]:
    return {each.body for each in handed}


def test_message_beyond_a_policy_s_delivery_limit_is_handled(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    with policy(broker, f"^{queue}", '{"delivery-limit": 2}'):
        publisher.send(to(queue, "kept"))
        for _ in range(3):
            die_with_it(broker, queue)
        until(lambda: left(broker, DEAD_LETTERS + queue), "the message to be dropped")

        with consuming(broker, topology, queue) as handed:
            until(lambda: handed, "the message")

    assert [(each.queue, each.body, each.redelivered) for each in handed] == [(queue, b"kept", True)]
    assert f"{DEAD_LETTERS}{queue}: it was returned more often" in caplog.text


def test_dropped_message_that_is_requeued_thirty_times_is_handled(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, queue: str
) -> None:
    with policy(broker, queue, '{"delivery-limit": 1}'):  # of both queues, since their names have this in them
        publisher.send(to(queue, "kept"))
        for _ in range(2):
            die_with_it(broker, queue)
        for _ in range(30):
            die_with_it(broker, DEAD_LETTERS + queue)

        with consuming(broker, topology, queue) as handed:
            until(lambda: bodies(handed) == {b"kept"}, "the message")


def test_message_that_is_requeued_thirty_times_stays_in_its_queue_without_a_policy(
    broker: RabbitMQ, publisher: Publisher, queue: str
) -> None:
    publisher.send(to(queue, "kept"))

    for _ in range(30):
        die_with_it(broker, queue)

    assert until(lambda: left(broker, queue), "the message") == 1


def test_expired_message_is_handled(broker: RabbitMQ, topology: Topology, publisher: Publisher, queue: str) -> None:
    with policy(broker, f"^{queue}", '{"message-ttl": 100}'):
        publisher.send(to(queue, "kept"))
        until(lambda: left(broker, DEAD_LETTERS + queue), "the message to be dropped")

        with consuming(broker, topology, queue) as handed:
            until(lambda: bodies(handed) == {b"kept"}, "the message")


def test_full_queue_refuses_messages_and_keeps_confirmed_ones(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    with policy(broker, queue, '{"max-length": 3}'):
        confirmed = {body for number in range(10) for body in publisher.send(to(queue, str(number)))}

        with consuming(broker, topology, queue) as handed:
            until(lambda: bodies(handed) == {body.encode() for body in confirmed}, "what was confirmed")

    assert 3 <= len(confirmed) < 10
    assert f"refused messages for {queue}" in caplog.text


def test_head_of_the_queue_that_a_policy_drops_is_handled(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, queue: str
) -> None:
    with policy(broker, queue, '{"max-length": 3, "overflow": "drop-head"}'):
        confirmed = {body for number in range(6) for body in publisher.send(to(queue, str(number)))}

        with consuming(broker, topology, queue) as handed:
            until(lambda: bodies(handed) == {body.encode() for body in confirmed}, "what was confirmed")

    assert len(confirmed) == 6


def test_dropped_message_stays_in_its_queue_while_the_dead_letter_queue_is_full(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, queue: str
) -> None:
    with policy(broker, f"^{DEAD_LETTERS}{queue}", '{"max-length": 1}'):
        with policy(broker, f"^{queue}", '{"message-ttl": 100}'):
            sent = publisher.send(to(queue, *"abcdef"))
            until(lambda: not left(broker, queue), "all messages to expire")

        with consuming(broker, topology, queue) as handed:
            until(lambda: bodies(handed) == {body.encode() for body in sent}, "all messages", 60)


def test_dead_letter_exchange_of_a_policy_gets_no_message(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, queue: str
) -> None:
    other = unique("other")
    with connector(broker)(0) as connection:
        kombu.Queue(other, durable=True)(connection.default_channel).declare()
    definition = f'{{"message-ttl": 100, "dead-letter-exchange": "", "dead-letter-routing-key": "{other}"}}'
    with policy(broker, f"^{queue}", definition):
        publisher.send(to(queue, "kept"))

        with consuming(broker, topology, queue) as handed:
            until(lambda: bodies(handed) == {b"kept"}, "the message")

    assert left(broker, other) == 0


# Arguments of an existing queue, with the level and text of the log line.
IN_THE_WAY = {
    "classic": ({"x-queue-type": "classic"}, logging.ERROR, "has another type"),
    "classic without arguments": ({}, logging.ERROR, "has another type"),
    "quorum of an older snapmanage": ({"x-queue-type": "quorum"}, logging.WARNING, "declared with other arguments"),
}


@pytest.mark.parametrize(("arguments", "level", "text"), IN_THE_WAY.values(), ids=IN_THE_WAY.keys())
def test_existing_queue_is_consumed_and_logged_with_its_remedy(
    broker: RabbitMQ,
    topology: Topology,
    queue: str,
    caplog: pytest.LogCaptureFixture,
    arguments: dict[str, str],
    level: int,
    text: str,
) -> None:
    publisher = Publisher(connector(broker), topology)
    with connector(broker)(0) as connection:
        channel = connection.channel()
        kombu.Queue(queue, durable=True, queue_arguments=arguments)(channel).declare()
        channel.basic_publish(channel.prepare_message(b"before", properties={"delivery_mode": 2}), "", queue)

    with consuming(broker, topology, queue) as handed:
        until(lambda: bodies(handed) == {b"before"}, "the message that was there")
        until(lambda: publisher.send(to(queue, "after", must_exist=True)), "the exchange to reach the queue")
        until(lambda: bodies(handed) == {b"before", b"after"}, "the message that came later")

    publisher.close()
    [record] = [each for each in caplog.records if f"Queue {queue} " in each.getMessage()]
    assert record.levelno == level
    assert text in record.getMessage()
    assert f"rabbitmqctl delete_queue {queue}" in record.getMessage()
    assert "can't be reached" not in caplog.text


def test_exclusively_held_queue_delays_no_other_and_is_consumed_when_it_is_free(
    broker: RabbitMQ,
    topology: Topology,
    publisher: Publisher,
    queue: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("snapmanage.bus.rabbit.queue_consumer.REFUSED_SECONDS", 0.5)
    other = unique("other")
    with connector(broker)(0) as connection:
        kombu.Queue(other, exclusive=True)(connection.default_channel).declare()
        with consuming(broker, topology, other, queue) as handed:
            until(lambda: publisher.send(to(queue, "1", must_exist=True)), "the other queue")
            until(lambda: bodies(handed) == {b"1"}, "its message")
            [record] = [each for each in caplog.records if f"Queue {other} " in each.getMessage()]
            connection.close()
            until(lambda: publisher.send(to(other, "2", must_exist=True)), "the queue that was held")
            until(lambda: bodies(handed) == {b"1", b"2"}, "its message")

    assert record.levelno == logging.ERROR
    assert "can't be used: the broker refuses it" in record.getMessage()


@pytest.fixture
def node_is_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Delay each declaration of a dead-letter queue until the event is set, like RabbitMQ 4.0 without its node."""
    back = threading.Event()

    def declared_late(connection: kombu.Connection, topology: Topology, key: str) -> DeclaredQueue:
        assert back.wait(60)
        return declare_dead_letters(connection, topology, key)

    for module in ("consumer", "bus"):
        monkeypatch.setattr(f"snapmanage.bus.rabbit.{module}.declare_dead_letters", declared_late)
    yield back
    back.set()


def dead_letters(queue: str, *bodies: str) -> list[Publication]:
    return to(DEAD_LETTERS + queue, *bodies, must_exist=True)


def test_dead_letter_queue_on_a_stopped_node_delays_no_other_queue_and_is_consumed_later(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, queue: str, node_is_back: threading.Event
) -> None:
    with consuming(broker, topology, queue) as handed:
        assert publisher.send(to(queue, "1"))
        until(lambda: bodies(handed) == {b"1"}, "the message")
        node_is_back.set()
        until(lambda: publisher.send(dead_letters(queue, "dropped"), exchange=""), "the dead-letter queue")
        until(lambda: bodies(handed) == {b"1", b"dropped"}, "the dropped message")


def test_dead_letter_queue_on_a_stopped_node_delays_no_shutdown(
    broker: RabbitMQ, topology: Topology, queue: str, node_is_back: threading.Event
) -> None:
    consumer = RabbitConsumer(connector(broker), topology, [queue], fail, 200)
    consumer.start()
    until(lambda: exists(broker, queue), "the consumer's queue")
    consumer.stop()

    shutdown = threading.Thread(target=consumer.join, args=[60])
    shutdown.start()

    until(lambda: not shutdown.is_alive(), "the consumer to shut down")
    assert not node_is_back.is_set()


def test_declaration_without_an_answer_raises_an_error_that_names_the_queue(
    broker: RabbitMQ, topology: Topology, queue: str
) -> None:
    with wire_to(broker.port) as wire:
        url = broker.amqp_url.replace(str(broker.port), str(wire.port))
        with kombu.Connection(url, transport_options={"read_timeout": 1}) as connection:
            connection.connect()
            wire.freeze()

            with pytest.raises(OSError, match=f"no answer about queue {DEAD_LETTERS}{queue}, whose node may be down: "):
                declare_dead_letters(connection, topology, queue)

            wire.reset()


def test_publisher_declares_a_dead_letter_queue_in_at_most_one_thread(
    publisher: Publisher, queue: str, node_is_back: threading.Event
) -> None:
    for _ in range(3):
        publisher.close()  # so that it declares its queues again
        assert publisher.send(to(queue, "1"))

    assert [thread.name for thread in threading.enumerate()].count(f"declare {DEAD_LETTERS}{queue}") == 1


def test_handler_and_probe_are_called_one_after_the_other(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, queue: str
) -> None:
    calls, failures, handed = list[int](), [1, 2, 3], list[Delivery]()
    overlap = threading.Event()

    def call() -> None:
        calls.append(1)
        if len(calls) > 1:
            overlap.set()
        overlap.wait(0.1)
        calls.pop()

    def handle(batch: Sequence[Delivery]) -> None:
        call()
        if failures and batch[0].body.startswith(b"queued"):
            failures.pop()
            fail(batch)
        handed.extend(batch)

    publisher.send(to(queue, "queued 1", "queued 2"))
    publisher.send(dead_letters(queue, *(f"dropped {number}" for number in range(30))), exchange="")
    consumer = RabbitConsumer(connector(broker), topology, [queue], handle, 1, call)
    consumer.start()
    until(lambda: len(bodies(handed)) == 32, "all messages")
    consumer.stop()
    consumer.join(20)

    assert failures == []
    assert not overlap.is_set()


def test_queue_arguments_depend_on_the_broker_s_version(broker: RabbitMQ, topology: Topology) -> None:
    with connector(broker)(0) as connection:
        connection.connect()
        version = version_of(connection)

    arguments: Any = vars(topology.queue("queue", version))["queue_arguments"]

    assert version[:2] == (4, 0) or not isinstance(broker, TrixieRabbitMQ)
    assert arguments["x-dead-letter-strategy"] == "at-least-once"
    assert arguments.get("x-delivery-limit") == (-1 if version >= (4,) else None)
