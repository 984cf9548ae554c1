"""The broker's limits lose no message: a consumer also handles each message that the broker drops from its queue."""

from collections.abc import Iterator
from contextlib import contextmanager

import kombu
import pytest

from snapmanage.bus.rabbit.bus import Publisher
from snapmanage.bus.rabbit.topology import DEAD_LETTERS, Topology
from tests.integration.rabbit.consumers import consuming_all
from tests.integration.rabbit.queues import bodies_of, connector, publications, ready_count, receive_and_die
from tests.services.process import unique
from tests.services.rabbitmq import RabbitMQ
from tests.waiting import until


@contextmanager
def policy(broker: RabbitMQ, pattern: str, definition: str) -> Iterator[None]:
    """Set a policy for all queues with matching names; clear it in the end."""
    name = unique("policy")
    broker.control("set_policy", name, pattern, definition, "--apply-to", "queues")
    try:
        yield
    finally:
        broker.control("clear_policy", name)


def test_message_beyond_the_delivery_limit_of_a_policy_is_handled(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    with policy(broker, f"^{queue}", '{"delivery-limit": 2}'):
        publisher.send(publications(queue, "kept"))
        for _ in range(3):
            receive_and_die(broker, queue)
        until(lambda: ready_count(broker, DEAD_LETTERS + queue), "the message to be dropped")

        with consuming_all(broker, topology, queue) as deliveries:
            until(lambda: deliveries, "the message")

    assert [(each.queue, each.body, each.redelivered) for each in deliveries] == [(queue, b"kept", True)]
    assert f"{DEAD_LETTERS}{queue}: it was returned more often" in caplog.text


def test_dropped_message_that_is_requeued_thirty_times_is_handled(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, queue: str
) -> None:
    with policy(broker, queue, '{"delivery-limit": 1}'):  # for both queues, since both names contain it
        publisher.send(publications(queue, "kept"))
        for _ in range(2):
            receive_and_die(broker, queue)
        for _ in range(30):
            receive_and_die(broker, DEAD_LETTERS + queue)

        with consuming_all(broker, topology, queue) as deliveries:
            until(lambda: bodies_of(deliveries) == {b"kept"}, "the message")


def test_message_that_is_requeued_thirty_times_stays_in_its_queue_without_a_policy(
    broker: RabbitMQ, publisher: Publisher, queue: str
) -> None:
    publisher.send(publications(queue, "kept"))

    for _ in range(30):
        receive_and_die(broker, queue)

    assert until(lambda: ready_count(broker, queue), "the message") == 1


def test_expired_message_is_handled(broker: RabbitMQ, topology: Topology, publisher: Publisher, queue: str) -> None:
    with policy(broker, f"^{queue}", '{"message-ttl": 100}'):
        publisher.send(publications(queue, "kept"))
        until(lambda: ready_count(broker, DEAD_LETTERS + queue), "the message to be dropped")

        with consuming_all(broker, topology, queue) as deliveries:
            until(lambda: bodies_of(deliveries) == {b"kept"}, "the message")


def test_full_queue_refuses_messages_and_keeps_confirmed_ones(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    with policy(broker, queue, '{"max-length": 3}'):
        confirmed = {body for number in range(10) for body in publisher.send(publications(queue, str(number)))}

        with consuming_all(broker, topology, queue) as deliveries:
            until(lambda: bodies_of(deliveries) == {body.encode() for body in confirmed}, "the confirmed messages")

    assert 3 <= len(confirmed) < 10
    assert f"refused messages for {queue}" in caplog.text


def test_head_of_the_queue_that_a_policy_drops_is_handled(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, queue: str
) -> None:
    with policy(broker, queue, '{"max-length": 3, "overflow": "drop-head"}'):
        confirmed = {body for number in range(6) for body in publisher.send(publications(queue, str(number)))}

        with consuming_all(broker, topology, queue) as deliveries:
            until(lambda: bodies_of(deliveries) == {body.encode() for body in confirmed}, "the confirmed messages")

    assert len(confirmed) == 6


def test_dropped_message_stays_in_its_queue_while_the_dead_letter_queue_is_full(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, queue: str
) -> None:
    with policy(broker, f"^{DEAD_LETTERS}{queue}", '{"max-length": 1}'):
        with policy(broker, f"^{queue}", '{"message-ttl": 100}'):
            sent = publisher.send(publications(queue, *"abcdef"))
            until(lambda: not ready_count(broker, queue), "all messages to expire")

        with consuming_all(broker, topology, queue) as deliveries:
            until(lambda: bodies_of(deliveries) == {body.encode() for body in sent}, "all messages", 60)


def test_dead_letter_exchange_of_a_policy_gets_no_message(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, queue: str
) -> None:
    other = unique("other")
    with connector(broker)(0) as connection:
        kombu.Queue(other, durable=True)(connection.default_channel).declare()
    definition = f'{{"message-ttl": 100, "dead-letter-exchange": "", "dead-letter-routing-key": "{other}"}}'
    with policy(broker, f"^{queue}", definition):
        publisher.send(publications(queue, "kept"))

        with consuming_all(broker, topology, queue) as deliveries:
            until(lambda: bodies_of(deliveries) == {b"kept"}, "the message")

    assert ready_count(broker, other) == 0
