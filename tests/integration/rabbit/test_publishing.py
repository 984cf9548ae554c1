"""A confirmed message is in its queue."""

import threading
from dataclasses import replace

import kombu
import pytest

from snapmanage import errors
from snapmanage.bus.rabbit.bus import Publisher
from snapmanage.bus.rabbit.topology import Topology
from tests.integration.rabbit.queues import connector, delete, next_message, publications
from tests.services.process import unique
from tests.services.rabbitmq import RabbitMQ


def test_confirmed_message_is_in_the_declared_queue(broker: RabbitMQ, publisher: Publisher) -> None:
    queue = unique("notifications")

    assert publisher.send(publications(queue, "1", "2")) == {"1", "2"}

    message = next_message(broker, queue)
    assert message.body in ("1", b"1")
    assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")
    assert message.properties["delivery_mode"] == 2
    assert message.properties["message_id"] == "1"


def test_message_without_a_queue_is_not_confirmed_and_the_others_are(publisher: Publisher) -> None:
    nowhere, somewhere = unique("nowhere"), unique("somewhere")

    arrived = publisher.send(
        [
            *publications(nowhere, "1", must_exist=True),
            *publications(somewhere, "2"),
            *publications(nowhere, "3", must_exist=True),
        ]
    )

    assert arrived == {"2"}


def test_message_that_reached_one_of_two_queues_is_not_confirmed(publisher: Publisher) -> None:
    arrived = publisher.send(
        [*publications(unique("nowhere"), "1", must_exist=True), *publications(unique("somewhere"), "1")]
    )

    assert arrived == set()


def test_missing_queue_is_logged_once_until_a_message_reaches_it(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    queue = unique("server")

    def warnings_logged() -> int:
        return sum(queue in record.getMessage() for record in caplog.records)

    publisher.send(publications(queue, "1", "2", must_exist=True))
    publisher.send(publications(queue, "1", "2", must_exist=True))
    assert warnings_logged() == 1

    with connector(broker)(0) as connection:
        topology.queue(queue)(connection).declare()
    assert publisher.send(publications(queue, "1", must_exist=True)) == {"1"}
    delete(broker, queue)
    publisher.send(publications(queue, "2", must_exist=True))
    assert warnings_logged() == 2


def test_reply_without_a_queue_is_not_logged(publisher: Publisher, caplog: pytest.LogCaptureFixture) -> None:
    queue = unique("reply")

    assert publisher.send(publications(queue, "1", must_exist=True), exchange="") == set()

    assert queue not in caplog.text


def test_deleted_queue_is_declared_again(broker: RabbitMQ, publisher: Publisher) -> None:
    queue = unique("notifications")
    publisher.send(publications(queue, "1"))
    delete(broker, queue)

    assert publisher.send(publications(queue, "2")) == set()
    assert publisher.send(publications(queue, "2")) == {"2"}


def test_refused_queue_does_not_delay_other_queues(broker: RabbitMQ, publisher: Publisher) -> None:
    other, good = unique("other"), unique("good")
    first, second = publications(other, "first"), publications(good, "second")
    both = [replace(each, message_id="both") for each in [*publications(other, "x"), *publications(good, "x")]]
    with connector(broker)(0) as connection:
        kombu.Queue(other, exclusive=True)(connection.default_channel).declare()  # other connections are refused

        assert publisher.send([*first, *second, *both]) == {"second"}

    assert publisher.send([*first, *both]) == {"first", "both"}


def test_refused_message_is_sent_over_another_connection_next_time(broker: RabbitMQ) -> None:
    queue, connections = unique("full"), []

    def connect(heartbeat: int) -> kombu.Connection:
        connections.append(heartbeat)
        return connector(broker)(heartbeat)

    publisher = Publisher(connect, Topology(unique("exchange")))
    with connector(broker)(0) as connection:
        full = {"x-max-length": 1, "x-overflow": "reject-publish"}
        kombu.Queue(queue, queue_arguments=full, durable=True)(connection.default_channel).declare()
    assert publisher.send(publications(queue, "first", must_exist=True), exchange="") == {"first"}

    refused = publisher.send(publications(queue, "second", must_exist=True), exchange="")
    next_message(broker, queue)
    taken = publisher.send(publications(queue, "second", must_exist=True), exchange="")

    assert (refused, taken, len(connections)) == (set(), {"second"}, 2)
    publisher.close()


def test_several_threads_send_over_one_connection(broker: RabbitMQ, publisher: Publisher) -> None:
    queue = unique("notifications")
    arrived: list[set[str]] = []
    threads = [
        threading.Thread(
            target=lambda n=n: arrived.append(publisher.send(publications(queue, *(f"{n}-{m}" for m in range(50)))))
        )
        for n in range(4)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert set().union(*arrived) == {f"{n}-{m}" for n in range(4) for m in range(50)}


def test_unreachable_broker_raises_unavailable() -> None:
    nowhere = Publisher(lambda heartbeat: kombu.Connection("amqp://127.0.0.1:1//", connect_timeout=1), Topology("e"))

    with pytest.raises(errors.Unavailable):
        nowhere.send(publications("queue", "1"))
