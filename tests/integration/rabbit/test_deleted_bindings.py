"""A consumer restores its exchange and its bindings, and a publisher loses no message meanwhile."""

from collections.abc import Callable
from typing import Any

import pytest

from snapmanage.bus.rabbit import rebinding
from snapmanage.bus.rabbit.bus import Publisher
from snapmanage.bus.rabbit.declaring import bind_again, exchange_exists
from snapmanage.bus.rabbit.topology import Topology
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.integration.rabbit.configured_bus import is_sent
from tests.integration.rabbit.consumers import consuming_all
from tests.integration.rabbit.queues import bodies_of, connector, publications

Deletion = Callable[[Any, Topology, str], None]


def delete_exchange(channel: Any, topology: Topology, queue: str) -> None:
    channel.exchange_delete(topology.exchange)


def replace_exchange(channel: Any, topology: Topology, queue: str) -> None:
    """Delete the exchange and declare it, as a publisher does that comes first."""
    channel.exchange_delete(topology.exchange)
    topology.declared_exchange()(channel).declare()


def unbind(channel: Any, topology: Topology, queue: str) -> None:
    channel.queue_unbind(queue, topology.exchange, queue)


@pytest.fixture(autouse=True)
def _short_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebinding, "INTERVAL_SECONDS", 0.5)


@pytest.mark.parametrize("deletion", [delete_exchange, replace_exchange, unbind])
def test_message_arrives_after_the_binding_of_its_queue_was_deleted(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, queue: str, deletion: Deletion
) -> None:
    with consuming_all(broker, topology, queue) as deliveries:
        until(lambda: is_sent(publisher, publications(queue, "1", must_exist=True)), "the queue")
        with connector(broker)(0) as connection:
            deletion(connection.channel(), topology, queue)

        until(lambda: is_sent(publisher, publications(queue, "2", must_exist=True)), "the queue to be bound again")

        until(lambda: bodies_of(deliveries) == {b"1", b"2"}, "both messages")


def test_message_without_an_exchange_is_not_confirmed(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, queue: str
) -> None:
    """The publisher raises or returns no id, so the outbox keeps the message."""
    with connector(broker)(0) as connection:
        topology.queue(queue)(connection).declare()
        assert is_sent(publisher, publications(queue, "1", must_exist=True))
        connection.channel().exchange_delete(topology.exchange)

    sent = [is_sent(publisher, publications(queue, "2", must_exist=True)) for _ in range(3)]

    assert sent == [False] * 3


def test_deleted_exchange_is_logged_once(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    with consuming_all(broker, topology, queue):
        until(lambda: is_sent(publisher, publications(queue, "1", must_exist=True)), "the queue")
        with connector(broker)(0) as connection:
            connection.channel().exchange_delete(topology.exchange)
        until(lambda: f"Exchange {topology.exchange} was missing" in caplog.text, "the log line")

        until(lambda: is_sent(publisher, publications(queue, "2", must_exist=True)), "the queue to be bound again")

    assert caplog.text.count("was missing") == 1


def test_queue_that_is_missing_is_left_to_its_consumer(broker: RabbitMQ, topology: Topology, queue: str) -> None:
    with connector(broker)(0) as connection:
        bind_again(connection, topology, queue)

        assert exchange_exists(connection, topology.declared_exchange())
