"""Read and prepare messages in queues, with kombu alone."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import kombu
from amqp.exceptions import NotFound

from snapmanage.bus import Delivery, Publication
from snapmanage.bus.rabbit.topology import DEAD_LETTERS
from tests.services.rabbitmq import RabbitMQ
from tests.waiting import until


def connector(broker: RabbitMQ) -> Callable[[int], kombu.Connection]:
    return lambda heartbeat: kombu.Connection(broker.amqp_url, heartbeat=heartbeat, connect_timeout=5)


def publications(queue: str, *bodies: str, must_exist: bool = False) -> list[Publication]:
    """Return publications with their bodies as their ids."""
    return [Publication(body, queue, body.encode(), must_exist) for body in bodies]


def next_message(broker: RabbitMQ, queue: str) -> Any:
    """Remove the next message from a queue and return it; None if the queue is empty."""
    with connector(broker)(0) as connection:
        return kombu.Queue(queue)(connection.default_channel).get(no_ack=True)


def delete(broker: RabbitMQ, queue: str) -> None:
    with connector(broker)(0) as connection:
        connection.default_channel.queue_delete(queue)


def ready_count(broker: RabbitMQ, queue: str) -> int:
    """Return how many messages of a queue are not delivered to a consumer; 0 if the queue does not exist."""
    with connector(broker)(0) as connection, suppress(NotFound):
        return int(connection.default_channel.queue_declare(queue, passive=True).message_count)
    return 0


def exists(broker: RabbitMQ, queue: str) -> bool:
    with connector(broker)(0) as connection, suppress(NotFound):
        connection.default_channel.queue_declare(queue, passive=True)
        return True
    return False


def receive_and_die(broker: RabbitMQ, queue: str) -> None:
    """Receive the queue's first message, then break the connection without an acknowledgement."""
    with connector(broker)(0) as connection:
        channel = connection.channel()
        until(lambda: channel.basic_get(queue), "the message")
        connection.collect()


def dead_letters(queue: str, *bodies: str) -> list[Publication]:
    return publications(DEAD_LETTERS + queue, *bodies, must_exist=True)


def bodies_of(deliveries: list[Delivery]) -> set[bytes]:
    return {each.body for each in deliveries}
