"""A handled message is removed from its queue; a failed one is delivered again."""

import threading
from collections.abc import Sequence

import kombu
import pytest

from snapmanage.bus import Delivery
from snapmanage.bus.rabbit import queue_consumer
from snapmanage.bus.rabbit.bus import Publisher
from snapmanage.bus.rabbit.topology import Topology
from snapmanage.testing.services.process import unique
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.integration.rabbit.consumers import RecordingHandler, consumer_of, consuming, fail_batch
from tests.integration.rabbit.queues import connector, next_message, publications, ready_count


def test_batch_holds_the_arrived_messages_up_to_the_prefetch(
    broker: RabbitMQ, topology: Topology, publisher: Publisher
) -> None:
    queue = unique("volume")
    sent = [str(number) for number in range(50)]
    publisher.send(publications(queue, *sent))
    handler = RecordingHandler()

    with consuming(broker, topology, queue, handler, prefetch=20):
        until(lambda: len(handler.bodies) >= 50, "all messages")

    assert [body.decode() for body in handler.bodies] == sent
    assert 1 < max(len(batch) for batch in handler.batches) <= 20


def test_handled_message_is_removed_from_its_queue(broker: RabbitMQ, topology: Topology, publisher: Publisher) -> None:
    queue = unique("volume")
    handler = RecordingHandler()

    with consuming(broker, topology, queue, handler):
        until(lambda: publisher.send(publications(queue, "1", must_exist=True)), "the consumer's queue")
        until(lambda: handler.bodies, "the message")

    assert next_message(broker, queue) is None


def test_unhandled_message_is_requeued(broker: RabbitMQ, topology: Topology, publisher: Publisher) -> None:
    queue = unique("volume")
    publisher.send(publications(queue, "1"))
    handler = RecordingHandler(fail_batch)

    with consuming(broker, topology, queue, handler):
        until(lambda: handler.bodies, "the message")

    message = until(lambda: next_message(broker, queue), "the message to be requeued")
    assert message.body in ("1", b"1")


def test_failed_batch_is_redelivered_unchanged(broker: RabbitMQ, topology: Topology, publisher: Publisher) -> None:
    queue = unique("volume")
    publisher.send(publications(queue, "1", "2", "3"))
    handler = RecordingHandler(lambda batch: fail_batch(batch) if len(handler.batches) < 3 else None)

    with consuming(broker, topology, queue, handler):
        until(lambda: len(handler.batches) >= 3, "the third try")
        publisher.send(publications(queue, "4"))
        until(lambda: handler.bodies[-1] == b"4", "the next message")

    assert handler.batches[0] == handler.batches[1] == handler.batches[2]
    assert next_message(broker, queue) is None


def test_failing_handler_keeps_the_connection_and_requeues_messages_once(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_consumer, "HEARTBEAT_SECONDS", 3)
    queue, connections = unique("volume"), list[int]()
    publisher.send(publications(queue, "1"))
    handler, probed = list[Delivery](), list[int]()

    def connect(heartbeat: int) -> kombu.Connection:
        connections.append(heartbeat)
        return connector(broker)(heartbeat)

    def handle(batch: Sequence[Delivery]) -> None:
        handler.extend(batch)
        if len(probed) < 4:
            fail_batch(batch)

    def probe() -> None:
        probed.append(1)
        if len(probed) < 4:
            fail_batch([])

    made = consumer_of(connect, topology, queue, handle, 20, probe)
    made.start()
    until(lambda: len(probed) == 4, "the fourth probe, several heartbeats later", 30)
    until(lambda: handler[-1].redelivered, "the message to be delivered again")
    made.stop()

    assert len(connections) == 1
    assert [each.headers.get("x-delivery-count") or 0 for each in handler] == [0, 0, 0, 1]


def test_failing_handler_holds_no_messages(broker: RabbitMQ, topology: Topology, publisher: Publisher) -> None:
    queue = unique("volume")
    publisher.send(publications(queue, *(str(number) for number in range(50))))
    made = consumer_of(connector(broker), topology, queue, fail_batch, 20, lambda: fail_batch([]))
    made.start()

    until(lambda: ready_count(broker, queue) < 50, "a batch to be delivered")
    until(lambda: ready_count(broker, queue) == 50, "all messages to be returned to the queue")

    made.stop()


def test_hanging_handler_releases_its_messages_and_is_awaited(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_consumer, "HOLD_SECONDS", 1)
    queue, hanging, batches = unique("volume"), threading.Event(), list[Sequence[Delivery]]()
    publisher.send(publications(queue, "1"))

    def handle(batch: Sequence[Delivery]) -> None:
        batches.append(batch)
        hanging.wait(30)

    with consuming(broker, topology, queue, handle):
        until(lambda: batches, "the message to be handled")
        until(lambda: ready_count(broker, queue) == 1, "the message to be returned to the queue")
        assert len(batches) == 1
        hanging.set()
        until(lambda: len(batches) == 2, "the message to be handled again")

    until(lambda: ready_count(broker, queue) == 0, "the message to be removed")


def test_batch_that_takes_too_long_is_handled_in_parts(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_consumer, "HOLD_SECONDS", 1.0)
    monkeypatch.setattr(queue_consumer, "FIRST_PAUSE_SECONDS", 0.1)
    queue, never = unique("volume"), threading.Event()
    publisher.send(publications(queue, *"12345678"))

    def handle_slowly(batch: Sequence[Delivery]) -> None:
        never.wait(0.3 * len(batch))

    handler = RecordingHandler(handle_slowly)

    with consuming(broker, topology, queue, handler, prefetch=8):
        until(lambda: handler.batches and len(handler.batches[-1]) < 4, "small batches", 30)
        until(lambda: handler.bodies[-1] == b"8" and len(handler.batches[-1]) < 4, "the last message", 30)

    assert next_message(broker, queue) is None
