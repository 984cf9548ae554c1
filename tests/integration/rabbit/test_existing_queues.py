"""A queue that already exists is consumed; a queue that another connection holds delays no other queue."""

import logging
from typing import Any

import kombu
import pytest

from snapmanage.bus.rabbit.bus import Publisher
from snapmanage.bus.rabbit.topology import Topology, version_of
from snapmanage.testing.services.process import unique
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.integration.rabbit.consumers import consuming_all
from tests.integration.rabbit.queues import (
    bodies_of,
    connector,
    publications,
)
from tests.services.guests.trixie import TrixieRabbitMQ

# Arguments of an existing queue, with the level and text of the log line.
EXISTING_QUEUES = {
    "classic": ({"x-queue-type": "classic"}, logging.ERROR, "has another type"),
    "classic without arguments": ({}, logging.ERROR, "has another type"),
    "quorum of an older snapmanage": ({"x-queue-type": "quorum"}, logging.WARNING, "declared with other arguments"),
}


@pytest.mark.parametrize(("arguments", "level", "text"), EXISTING_QUEUES.values(), ids=EXISTING_QUEUES.keys())
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

    with consuming_all(broker, topology, queue) as deliveries:
        until(lambda: bodies_of(deliveries) == {b"before"}, "the earlier message")
        until(lambda: publisher.send(publications(queue, "after", must_exist=True)), "the exchange to reach the queue")
        until(lambda: bodies_of(deliveries) == {b"before", b"after"}, "the later message")

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
        with consuming_all(broker, topology, other, queue) as deliveries:
            until(lambda: publisher.send(publications(queue, "1", must_exist=True)), "the other queue")
            until(lambda: bodies_of(deliveries) == {b"1"}, "the message")
            [record] = [each for each in caplog.records if f"Queue {other} " in each.getMessage()]
            connection.close()
            until(lambda: publisher.send(publications(other, "2", must_exist=True)), "the released queue")
            until(lambda: bodies_of(deliveries) == {b"1", b"2"}, "the message")

    assert record.levelno == logging.ERROR
    assert "can't be used: the broker refuses it" in record.getMessage()


def test_queue_arguments_depend_on_the_broker_s_version(broker: RabbitMQ, topology: Topology) -> None:
    with connector(broker)(0) as connection:
        connection.connect()
        version = version_of(connection)

    arguments: Any = vars(topology.queue("queue", version))["queue_arguments"]

    assert version[:2] == (4, 0) or not isinstance(broker, TrixieRabbitMQ)
    assert arguments["x-dead-letter-strategy"] == "at-least-once"
    assert arguments.get("x-delivery-limit") == (-1 if version >= (4,) else None)
