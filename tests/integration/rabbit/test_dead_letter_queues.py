"""A dead-letter queue that cannot be declared delays neither other queues nor the shutdown."""

import threading
from collections.abc import Iterator, Sequence

import kombu
import pytest

from snapmanage.bus import Delivery
from snapmanage.bus.rabbit.bus import Publisher
from snapmanage.bus.rabbit.consumer import RabbitConsumer
from snapmanage.bus.rabbit.declaring import DeclaredQueue, declare_dead_letters
from snapmanage.bus.rabbit.topology import DEAD_LETTERS, Topology
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.integration.rabbit.consumers import consuming_all, fail_batch
from tests.integration.rabbit.queues import bodies_of, connector, dead_letters, exists, publications
from tests.services.network.wire import wire_to


@pytest.fixture
def node_is_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Delay each declaration of a dead-letter queue until this event is set, like RabbitMQ 4.0 without its node."""
    back = threading.Event()

    def declared_late(connection: kombu.Connection, topology: Topology, key: str) -> DeclaredQueue:
        assert back.wait(60)
        return declare_dead_letters(connection, topology, key)

    for module in ("consumer", "bus"):
        monkeypatch.setattr(f"snapmanage.bus.rabbit.{module}.declare_dead_letters", declared_late)
    yield back
    back.set()


def test_dead_letter_queue_on_a_stopped_node_delays_no_other_queue_and_is_consumed_later(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, queue: str, node_is_back: threading.Event
) -> None:
    with consuming_all(broker, topology, queue) as deliveries:
        assert publisher.send(publications(queue, "1"))
        until(lambda: bodies_of(deliveries) == {b"1"}, "the message")
        node_is_back.set()
        until(lambda: publisher.send(dead_letters(queue, "dropped"), exchange=""), "the dead-letter queue")
        until(lambda: bodies_of(deliveries) == {b"1", b"dropped"}, "the dropped message")


def test_dead_letter_queue_on_a_stopped_node_delays_no_shutdown(
    broker: RabbitMQ, topology: Topology, queue: str, node_is_back: threading.Event
) -> None:
    consumer = RabbitConsumer(connector(broker), topology, [queue], fail_batch, 200)
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
        assert publisher.send(publications(queue, "1"))

    assert [thread.name for thread in threading.enumerate()].count(f"declare {DEAD_LETTERS}{queue}") == 1


def test_handler_and_probe_are_called_one_after_the_other(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, queue: str
) -> None:
    calls, failures, deliveries = list[int](), [1, 2, 3], list[Delivery]()
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
            fail_batch(batch)
        deliveries.extend(batch)

    publisher.send(publications(queue, "queued 1", "queued 2"))
    publisher.send(dead_letters(queue, *(f"dropped {number}" for number in range(30))), exchange="")
    consumer = RabbitConsumer(connector(broker), topology, [queue], handle, 1, call)
    consumer.start()
    until(lambda: len(bodies_of(deliveries)) == 32, "all messages")
    consumer.stop()
    consumer.join(20)

    assert failures == []
    assert not overlap.is_set()
