"""The health command sees queues as the broker has them, and creates none."""

import kombu

from snapmanage.bus.rabbit.inspection import inspect
from snapmanage.core.maintenance.health import QueueFacts
from snapmanage.testing.services.process import unique
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until


def test_messages_and_consumers_of_queues_are_reported(rabbitmq: RabbitMQ) -> None:
    absent, idle, consumed = (unique(word) for word in ("absent", "idle", "consumed"))
    expected = [QueueFacts(absent), QueueFacts(idle, 2, 0), QueueFacts(consumed, 0, 1)]
    with kombu.Connection(rabbitmq.amqp_url) as connection, connection.channel() as channel:
        for name in (idle, consumed):
            channel.queue_declare(name, exclusive=True)
        for _ in range(2):
            kombu.Producer(channel).publish(b"", routing_key=idle)
        channel.basic_consume(consumed)

        until(lambda: inspect(connection, [absent, idle, consumed]) == expected, "the messages to arrive")
        assert inspect(connection, [absent]) == [QueueFacts(absent)]
