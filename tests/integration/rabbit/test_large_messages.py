"""Large messages: a consumer holds only so many bytes, whatever the number of messages that it may prefetch."""

import threading
from collections.abc import Sequence

import pytest

from snapmanage.bus import Delivery, Publication
from snapmanage.bus.rabbit import arrived, queue_consumer
from snapmanage.bus.rabbit.bus import Publisher
from snapmanage.bus.rabbit.topology import Topology
from snapmanage.testing.services.process import unique
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.integration.rabbit.consumers import RecordingHandler, consuming, fail_batch
from tests.integration.rabbit.queues import next_message

MEBIBYTE = 1024**2


def large(queue: str, number: int, size: int = MEBIBYTE) -> list[Publication]:
    return [Publication(str(each), queue, str(each).encode().ljust(size)) for each in range(number)]


def test_batch_of_large_messages_has_at_most_eight_mebibytes(
    broker: RabbitMQ, topology: Topology, publisher: Publisher
) -> None:
    queue = unique("notifications")
    publisher.send(large(queue, 30))
    handler = RecordingHandler()

    with consuming(broker, topology, queue, handler):
        until(lambda: len(handler.bodies) == 30, "all messages")

    assert [int(body) for body in handler.bodies] == list(range(30))
    assert max(map(len, handler.batches)) <= arrived.MOST_BYTES / MEBIBYTE == 8
    assert next_message(broker, queue) is None


def test_single_message_above_the_limit_is_handled_alone(
    broker: RabbitMQ, topology: Topology, publisher: Publisher
) -> None:
    queue = unique("notifications")
    publisher.send(large(queue, 2, arrived.MOST_BYTES + 1))
    handler = RecordingHandler()

    with consuming(broker, topology, queue, handler):
        until(lambda: len(handler.batches) == 2, "both messages")

    assert [len(batch) for batch in handler.batches] == [1, 1]


def test_connection_stays_while_a_slow_handler_holds_large_messages(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_consumer, "HEARTBEAT_SECONDS", 3)
    queue, redelivered, slow = unique("notifications"), list[bool](), threading.Event()
    publisher.send(large(queue, 20))

    def handle(batch: Sequence[Delivery]) -> None:
        slow.wait(0 if redelivered else 5)
        redelivered.extend(each.redelivered for each in batch)

    with consuming(broker, topology, queue, handle):
        until(lambda: len(redelivered) == 20, "all messages", 40)

    assert redelivered == [False] * 20


def test_failed_batch_of_large_messages_is_delivered_again(
    broker: RabbitMQ, topology: Topology, publisher: Publisher
) -> None:
    queue = unique("notifications")
    publisher.send(large(queue, 20))
    handler = RecordingHandler(lambda batch: fail_batch(batch) if len(handler.batches) < 4 else None)

    with consuming(broker, topology, queue, handler):
        until(lambda: len({int(body) for batch in handler.batches[3:] for body in batch}) == 20, "all messages", 40)

    assert next_message(broker, queue) is None
