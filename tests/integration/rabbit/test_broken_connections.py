"""Consumers and publishers survive connections that break or hang, and a killed broker."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import kombu
import pytest

from snapmanage import errors
from snapmanage.bus import Delivery
from snapmanage.bus.rabbit import connecting, queue_consumer
from snapmanage.bus.rabbit.bus import Publisher
from snapmanage.bus.rabbit.topology import Topology
from snapmanage.testing.services.process import unique
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.integration.rabbit.configured_bus import connected, is_sent
from tests.integration.rabbit.consumers import RecordingHandler, consumer_of, consuming, fail_batch
from tests.integration.rabbit.queues import next_message, publications
from tests.services.network.wire import wire_to

# A consumer has one connection for queues and one for dead-letter queues.
CONSUMER_CONNECTIONS = 2


def test_batch_of_a_lost_connection_is_not_acknowledged_on_the_next(
    broker: RabbitMQ, topology: Topology, publisher: Publisher
) -> None:
    queue, handled = unique("volume"), list[Delivery]()
    publisher.send(publications(queue, "1", "2"))
    with wire_to(broker.port) as wire:

        def handle(batch: Sequence[Delivery]) -> None:
            if wire.connections == 1:
                wire.reset()
                fail_batch(batch)
            handled.extend(batch)

        url = broker.amqp_url.replace(str(broker.port), str(wire.port))
        made = consumer_of(lambda heartbeat: kombu.Connection(url, heartbeat=heartbeat), topology, queue, handle, 200)
        made.start()
        until(lambda: len(handled) >= 2, "the messages to be delivered again")
        made.stop()
        made.join(20)

    assert [each.body for each in handled] == [b"1", b"2"]
    assert next_message(broker, queue) is None


def test_half_open_connection_is_abandoned(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_consumer, "HEARTBEAT_SECONDS", 1)
    queue = unique("volume")
    handler = RecordingHandler()
    with wire_to(broker.port) as wire:
        url = broker.amqp_url.replace(str(broker.port), str(wire.port))
        through_wire = consumer_of(
            lambda heartbeat: kombu.Connection(url, heartbeat=heartbeat), topology, queue, handler, 200
        )
        through_wire.start()
        until(lambda: publisher.send(publications(queue, "1", must_exist=True)), "the consumer's queue")
        until(lambda: handler.bodies, "the first message")

        wire.freeze()

        until(lambda: wire.connections > 1, "another connection")
        publisher.send(publications(queue, "2", must_exist=True))
        until(lambda: b"2" in handler.bodies, "the next message")
        through_wire.stop()
        through_wire.join(20)


def test_broker_that_does_not_answer_the_first_request_is_abandoned(
    broker: RabbitMQ, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "ANSWER_TIMEOUT_SECONDS", 1)
    with wire_to(broker.port) as wire:
        connect: Callable[..., Any] = kombu.Connection.ensure_connection

        def connect_and_hang(connection: kombu.Connection, **options: Any) -> Any:
            connected_to = connect(connection, **options)
            if wire.connections <= CONSUMER_CONNECTIONS:
                wire.freeze()
            return connected_to

        monkeypatch.setattr(kombu.Connection, "ensure_connection", connect_and_hang)
        with connected(broker.url.replace(str(broker.port), str(wire.port)), tmp_path) as (bus, _):
            handler, queue = RecordingHandler(), unique("queue")
            consumer = bus.consume([queue], handler)
            until(lambda: wire.connections > CONSUMER_CONNECTIONS, "the consumer to connect again")
            until(lambda: is_sent(bus, publications(queue, "late")), "the message to be sent", seconds=60)
            until(lambda: b"late" in handler.bodies, "the message to be delivered", seconds=60)
            consumer.stop()
            consumer.join(20)


def test_killed_broker_loses_no_confirmed_message(broker: RabbitMQ, topology: Topology, publisher: Publisher) -> None:
    queue = unique("volume")
    handler = RecordingHandler()
    with consuming(broker, topology, queue, handler):
        publisher.send(publications(queue, "before"))
        until(lambda: b"before" in handler.bodies, "the first message")
        until(lambda: broker.remembers(queue), "the broker to save the queue")
        handler.act = fail_batch
        publisher.send(publications(queue, "unacknowledged"))
        until(lambda: b"unacknowledged" in handler.bodies, "the second message")

        broker.kill()
        with pytest.raises(errors.Unavailable):
            publisher.send(publications(queue, "while the broker is down"))
        broker.start()
        handler.batches.clear()  # before the unacknowledged message can be handled
        handler.act = lambda batch: None

        until(lambda: is_sent(publisher, publications(queue, "after")), "the publisher to send again", seconds=60)
        until(lambda: {b"unacknowledged", b"after"} <= set(handler.bodies), "both messages", seconds=60)

    assert next_message(broker, queue) is None
