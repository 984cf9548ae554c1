"""Consumers of queues, and handlers that record their deliveries."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from snapmanage import errors
from snapmanage.bus import Delivery, Handle, Probe, no_probe
from snapmanage.bus.rabbit.bus import Connect
from snapmanage.bus.rabbit.consumer import RabbitConsumer
from snapmanage.bus.rabbit.declaring import declare
from snapmanage.bus.rabbit.queue_consumer import QueueConsumer
from snapmanage.bus.rabbit.topology import Topology
from tests.integration.rabbit.queues import connector
from tests.services.rabbitmq import RabbitMQ


class RecordingHandler:
    """A handler that records each batch, then calls `act` with it."""

    def __init__(self, act: Callable[[Sequence[Delivery]], None] = lambda batch: None) -> None:
        self.batches: list[list[bytes]] = []
        self.act = act

    def __call__(self, batch: Sequence[Delivery]) -> None:
        self.batches.append([delivery.body for delivery in batch])
        self.act(batch)

    @property
    def bodies(self) -> list[bytes]:
        return [body for batch in self.batches for body in batch]


def fail_batch(batch: Sequence[Delivery]) -> None:
    raise errors.Unavailable("the database is away")


def consumer_of(
    connect: Connect, topology: Topology, queue: str, handle: Handle, prefetch: int, probe: Probe = no_probe
) -> QueueConsumer:
    """Return the consumer of a queue alone, without its dead-letter queue."""
    return QueueConsumer(connect, {queue: partial(declare, topology=topology, key=queue)}, handle, prefetch, probe)


@contextmanager
def consuming(
    broker: RabbitMQ, topology: Topology, queue: str, handle: Handle, prefetch: int = 200
) -> Iterator[QueueConsumer]:
    made = consumer_of(connector(broker), topology, queue, handle, prefetch)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@contextmanager
def consuming_all(broker: RabbitMQ, topology: Topology, *queues: str) -> Iterator[list[Delivery]]:
    """Yield the deliveries of a consumer of `queues` and of their dead-letter queues."""
    deliveries: list[Delivery] = []
    consumer = RabbitConsumer(connector(broker), topology, queues, deliveries.extend, 200)
    consumer.start()
    try:
        yield deliveries
    finally:
        consumer.stop()
        consumer.join(20)
