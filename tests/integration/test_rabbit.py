"""The bus on a real broker: what was confirmed is there, what was handled is gone, and nothing else is."""

import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import amqp
import kombu
import oslo_messaging
import pytest
from amqp.exceptions import NotFound
from oslo_config import cfg

from snapmanage import conf as options
from snapmanage import errors
from snapmanage.bus import Bus, Delivery, Handle, Probe, Publication, envelope, no_probe
from snapmanage.bus.names import Names
from snapmanage.bus.rabbit import queue_consumer
from snapmanage.bus.rabbit.bus import Connect, Publisher, RabbitBus
from snapmanage.bus.rabbit.declaring import declare
from snapmanage.bus.rabbit.queue_consumer import QueueConsumer
from snapmanage.bus.rabbit.topology import Topology
from snapmanage.cmd.wiring import configuration, parts
from snapmanage.testing.services.process import unique
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.examples import SERVER
from tests.services.trixie import BROKERS
from tests.services.wire import wire_to

QUORUM = "rabbit_quorum_queue = true"
# What an operator may choose for queues that last; each is declared in a way of its own.
CHOICES = {
    "quorum": QUORUM,
    "bounded quorum": f"{QUORUM}\nrabbit_quorum_delivery_limit = 7\nrabbit_quorum_max_memory_length = 1000",
    "classic durable": "rabbit_quorum_queue = false\namqp_durable_queues = true",
    "transient": "rabbit_quorum_queue = false\namqp_durable_queues = false\nrabbit_transient_quorum_queue = false",
}


class Seen:
    """A handler that writes down what it is given, and does with it what a test says."""

    def __init__(self, act: Callable[[Sequence[Delivery]], None] = lambda batch: None) -> None:
        self.batches: list[list[bytes]] = []
        self.act = act

    def __call__(self, batch: Sequence[Delivery]) -> None:
        self.batches.append([delivery.body for delivery in batch])
        self.act(batch)

    @property
    def bodies(self) -> list[bytes]:
        return [body for batch in self.batches for body in batch]


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> RabbitMQ:
    """Each version of the broker that is there.

    Its name must not be that of a broker's own fixture: pytest would start that one anew for each test.
    """
    made: RabbitMQ = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def topology() -> Topology:
    """An exchange of the test's own."""
    return Topology(unique("exchange"))


@pytest.fixture
def publisher(broker: RabbitMQ, topology: Topology) -> Iterator[Publisher]:
    made = Publisher(connector(broker), topology)
    yield made
    made.close()


def connector(broker: RabbitMQ) -> Callable[[int], kombu.Connection]:
    return lambda heartbeat: kombu.Connection(broker.amqp_url, heartbeat=heartbeat, connect_timeout=5)


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


def to(queue: str, *bodies: str, must_exist: bool = False) -> list[Publication]:
    """Publications whose ids are their bodies."""
    return [Publication(body, queue, body.encode(), must_exist) for body in bodies]


def received(broker: RabbitMQ, queue: str) -> Any:
    """The next message of a queue, taken off it; None when there is none."""
    with connector(broker)(0) as connection:
        return kombu.Queue(queue)(connection.default_channel).get(no_ack=True)


def delete(broker: RabbitMQ, queue: str) -> None:
    with connector(broker)(0) as connection:
        connection.default_channel.queue_delete(queue)


@contextmanager
def connected(broker: RabbitMQ, folder: Path, choice: str = QUORUM) -> Iterator[tuple[Bus, Names]]:
    """The bus as the mains make it of a configuration file, with names of the test's own."""
    file = folder / "snapmanage.conf"
    file.write_text(
        f"[DEFAULT]\ntransport_url = {broker.url}\ncontrol_exchange = {unique('exchange')}\n"
        f"volume_topic = {unique('volume')}\nnotification_topics = {unique('notifications')}\n"
        f"[api]\ncall_timeout_seconds = 5\n[oslo_messaging_rabbit]\n{choice}\n"
    )
    # The stock client reads some options of its own there, and nowhere else.
    options.register(cfg.CONF)
    configuration.register_messaging(cfg.CONF)
    cfg.CONF([], default_config_files=[str(file)])
    bus, names = parts.connect_bus(cfg.CONF)
    try:
        yield bus, names
    finally:
        bus.close()
        cfg.CONF.reset()


@pytest.fixture
def bus_and_names(broker: RabbitMQ, tmp_path: Path) -> Iterator[tuple[Bus, Names]]:
    with connected(broker, tmp_path) as made:
        yield made


# Sending.


def test_confirmed_message_is_in_the_declared_queue(broker: RabbitMQ, publisher: Publisher) -> None:
    queue = unique("notifications")

    assert publisher.send(to(queue, "1", "2")) == {"1", "2"}

    message = received(broker, queue)
    assert message.body in ("1", b"1")
    assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")
    assert message.properties["delivery_mode"] == 2
    assert message.properties["message_id"] == "1"


def test_message_without_a_queue_is_not_confirmed_and_the_others_are(publisher: Publisher) -> None:
    nowhere, somewhere = unique("nowhere"), unique("somewhere")

    arrived = publisher.send(
        [*to(nowhere, "1", must_exist=True), *to(somewhere, "2"), *to(nowhere, "3", must_exist=True)]
    )

    assert arrived == {"2"}


def test_message_that_reached_one_of_two_queues_is_not_confirmed(publisher: Publisher) -> None:
    arrived = publisher.send([*to(unique("nowhere"), "1", must_exist=True), *to(unique("somewhere"), "1")])

    assert arrived == set()


def test_missing_queue_is_logged_once_until_a_message_reaches_it(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    queue = unique("server")

    def told() -> int:
        return sum(queue in record.getMessage() for record in caplog.records)

    publisher.send(to(queue, "1", "2", must_exist=True))
    publisher.send(to(queue, "1", "2", must_exist=True))
    assert told() == 1

    with connector(broker)(0) as connection:
        topology.queue(queue)(connection).declare()
    assert publisher.send(to(queue, "1", must_exist=True)) == {"1"}
    delete(broker, queue)
    publisher.send(to(queue, "2", must_exist=True))
    assert told() == 2


def test_reply_without_a_queue_is_not_logged(publisher: Publisher, caplog: pytest.LogCaptureFixture) -> None:
    queue = unique("reply")

    assert publisher.send(to(queue, "1", must_exist=True), exchange="") == set()

    assert queue not in caplog.text


def test_deleted_queue_is_declared_again(broker: RabbitMQ, publisher: Publisher) -> None:
    queue = unique("notifications")
    publisher.send(to(queue, "1"))
    delete(broker, queue)

    assert publisher.send(to(queue, "2")) == set()
    assert publisher.send(to(queue, "2")) == {"2"}


def test_refused_queue_does_not_delay_other_queues(broker: RabbitMQ, publisher: Publisher) -> None:
    other, good = unique("other"), unique("good")
    first, second = to(other, "first"), to(good, "second")
    both = [replace(each, message_id="both") for each in [*to(other, "x"), *to(good, "x")]]
    with connector(broker)(0) as connection:
        kombu.Queue(other, exclusive=True)(connection.default_channel).declare()  # for nobody else

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
    assert publisher.send(to(queue, "first", must_exist=True), exchange="") == {"first"}

    refused = publisher.send(to(queue, "second", must_exist=True), exchange="")
    received(broker, queue)
    taken = publisher.send(to(queue, "second", must_exist=True), exchange="")

    assert (refused, taken, len(connections)) == (set(), {"second"}, 2)
    publisher.close()


def test_several_threads_send_over_one_connection(broker: RabbitMQ, publisher: Publisher) -> None:
    queue = unique("notifications")
    arrived: list[set[str]] = []
    threads = [
        threading.Thread(target=lambda n=n: arrived.append(publisher.send(to(queue, *(f"{n}-{m}" for m in range(50))))))
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
        nowhere.send(to("queue", "1"))


# Consuming.


def test_batch_holds_the_arrived_messages_up_to_the_prefetch(
    broker: RabbitMQ, topology: Topology, publisher: Publisher
) -> None:
    queue = unique("volume")
    sent = [str(number) for number in range(50)]
    publisher.send(to(queue, *sent))
    seen = Seen()

    with consuming(broker, topology, queue, seen, prefetch=20):
        until(lambda: len(seen.bodies) >= 50, "all messages")

    assert [body.decode() for body in seen.bodies] == sent
    assert 1 < max(len(batch) for batch in seen.batches) <= 20


def test_handled_message_is_removed_from_its_queue(broker: RabbitMQ, topology: Topology, publisher: Publisher) -> None:
    queue = unique("volume")
    seen = Seen()

    with consuming(broker, topology, queue, seen):
        until(lambda: publisher.send(to(queue, "1", must_exist=True)), "the consumer's queue")
        until(lambda: seen.bodies, "the message")

    assert received(broker, queue) is None


def test_unhandled_message_is_requeued(broker: RabbitMQ, topology: Topology, publisher: Publisher) -> None:
    queue = unique("volume")
    publisher.send(to(queue, "1"))
    seen = Seen(fail)

    with consuming(broker, topology, queue, seen):
        until(lambda: seen.bodies, "the message")

    message = until(lambda: received(broker, queue), "the message to be back")
    assert message.body in ("1", b"1")


def fail(batch: Sequence[Delivery]) -> None:
    raise errors.Unavailable("the database is away")


def test_failed_batch_is_redelivered_unchanged(broker: RabbitMQ, topology: Topology, publisher: Publisher) -> None:
    queue = unique("volume")
    publisher.send(to(queue, "1", "2", "3"))
    seen = Seen(lambda batch: fail(batch) if len(seen.batches) < 3 else None)

    with consuming(broker, topology, queue, seen):
        until(lambda: len(seen.batches) >= 3, "the third try")
        publisher.send(to(queue, "4"))
        until(lambda: seen.bodies[-1] == b"4", "the next message")

    assert seen.batches[0] == seen.batches[1] == seen.batches[2]
    assert received(broker, queue) is None


def test_failing_handler_keeps_the_connection_and_requeues_messages_once(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_consumer, "HEARTBEAT_SECONDS", 3)
    queue, connections = unique("volume"), list[int]()
    publisher.send(to(queue, "1"))
    seen, probed = list[Delivery](), list[int]()

    def connect(heartbeat: int) -> kombu.Connection:
        connections.append(heartbeat)
        return connector(broker)(heartbeat)

    def handle(batch: Sequence[Delivery]) -> None:
        seen.extend(batch)
        if len(probed) < 4:
            fail(batch)

    def probe() -> None:
        probed.append(1)
        if len(probed) < 4:
            fail([])

    made = consumer_of(connect, topology, queue, handle, 20, probe)
    made.start()
    until(lambda: len(probed) == 4, "the fourth probe, several heartbeats later", 30)
    until(lambda: seen[-1].redelivered, "the message to come again")
    made.stop()

    assert len(connections) == 1
    assert [each.headers.get("x-delivery-count") or 0 for each in seen] == [0, 0, 0, 1]


def test_failing_handler_holds_no_messages(broker: RabbitMQ, topology: Topology, publisher: Publisher) -> None:
    queue = unique("volume")
    publisher.send(to(queue, *(str(number) for number in range(50))))
    made = consumer_of(connector(broker), topology, queue, fail, 20, lambda: fail([]))
    made.start()

    until(lambda: left(broker, queue) < 50, "a batch to be taken")
    until(lambda: left(broker, queue) == 50, "all to be left at the broker")

    made.stop()


def test_hanging_handler_releases_its_messages_and_is_awaited(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_consumer, "HOLD_SECONDS", 1)
    queue, hanging, batches = unique("volume"), threading.Event(), list[Sequence[Delivery]]()
    publisher.send(to(queue, "1"))

    def handle(batch: Sequence[Delivery]) -> None:
        batches.append(batch)
        hanging.wait(30)

    with consuming(broker, topology, queue, handle):
        until(lambda: batches, "the message to be handled")
        until(lambda: left(broker, queue) == 1, "it to be left at the broker")
        assert len(batches) == 1
        hanging.set()
        until(lambda: len(batches) == 2, "it to be handled again")

    until(lambda: left(broker, queue) == 0, "it to be gone")


def left(broker: RabbitMQ, queue: str) -> int:
    """Return how many messages of a queue are not delivered to a consumer; 0 if the queue does not exist."""
    with connector(broker)(0) as connection, suppress(NotFound):
        return int(connection.default_channel.queue_declare(queue, passive=True).message_count)
    return 0


def test_batch_of_a_lost_connection_is_not_acknowledged_on_the_next(
    broker: RabbitMQ, topology: Topology, publisher: Publisher
) -> None:
    queue, handled = unique("volume"), list[Delivery]()
    publisher.send(to(queue, "1", "2"))
    with wire_to(broker.port) as wire:

        def handle(batch: Sequence[Delivery]) -> None:
            if wire.connections == 1:
                wire.reset()
                fail(batch)
            handled.extend(batch)

        url = broker.amqp_url.replace(str(broker.port), str(wire.port))
        made = consumer_of(lambda heartbeat: kombu.Connection(url, heartbeat=heartbeat), topology, queue, handle, 200)
        made.start()
        until(lambda: len(handled) >= 2, "the messages to come again")
        made.stop()
        made.join(20)

    assert [each.body for each in handled] == [b"1", b"2"]
    assert received(broker, queue) is None


def test_half_open_connection_is_abandoned(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_consumer, "HEARTBEAT_SECONDS", 1)
    queue = unique("volume")
    seen = Seen()
    with wire_to(broker.port) as wire:
        url = broker.amqp_url.replace(str(broker.port), str(wire.port))
        through_wire = consumer_of(
            lambda heartbeat: kombu.Connection(url, heartbeat=heartbeat), topology, queue, seen, 200
        )
        through_wire.start()
        until(lambda: publisher.send(to(queue, "1", must_exist=True)), "the consumer's queue")
        until(lambda: seen.bodies, "the first message")

        wire.freeze()

        until(lambda: wire.connections > 1, "another connection")
        publisher.send(to(queue, "2", must_exist=True))
        until(lambda: b"2" in seen.bodies, "the next message")
        through_wire.stop()
        through_wire.join(20)


def test_broker_that_does_not_answer_the_first_request_is_abandoned(
    broker: RabbitMQ, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "ANSWER_TIMEOUT_SECONDS", 1)
    with wire_to(broker.port) as wire:
        wired = SimpleNamespace(url=broker.url.replace(str(broker.port), str(wire.port)))
        with connected(cast(RabbitMQ, wired), tmp_path) as (bus, _):
            assert isinstance(bus, RabbitBus)
            connect, topology = bus._connect, bus._topology

            def hang_at_first(heartbeat: int) -> kombu.Connection:
                connection = connect(heartbeat)
                if wire.connections == 1:
                    wire.freeze()
                return connection

            seen, queue = Seen(), unique("queue")
            made = consumer_of(hang_at_first, topology, queue, seen, 1)
            made.start()
            until(lambda: wire.connections >= 2, "the consumer to connect again")
            until(lambda: sent(bus, to(queue, "late")), "it to be sent", seconds=60)
            until(lambda: b"late" in seen.bodies, "the consumer to go on", seconds=60)
            made.stop()


def test_headers_that_kombu_can_not_decode_stop_no_consumer(
    broker: RabbitMQ, topology: Topology, publisher: Publisher
) -> None:
    queue = unique("volume")
    publisher.send(to(queue, "first"))
    with connector(broker)(0) as connection:
        headers = {"compression": "nonsense"}
        connection.Producer().publish("odd", routing_key=queue, headers=headers, content_encoding="nonsense")
    publisher.send(to(queue, "last"))
    seen = Seen()

    with consuming(broker, topology, queue, seen):
        until(lambda: b"last" in seen.bodies, "the message behind it")

    assert seen.bodies == [b"first", b"odd", b"last"]


def _table(*pairs: bytes) -> bytes:
    written = b"".join(pairs)
    return struct.pack(">I", len(written)) + written


MILLISECONDS = struct.pack(">Q", 1_800_000_000_000)
# Flags of the properties that follow them.
GARBLED = {
    "id that is no text": (0x0080, b"\x02\xff\xfe"),
    "header's time in milliseconds": (0x2000, _table(b"\x02atT" + MILLISECONDS)),
    "header's name that is no text": (0x2000, _table(b"\x02\xff\xfet\x01")),
    "encoding that makes no text": (0x4000, b"\x0eunicode_escape"),
}


@pytest.mark.parametrize(("flags", "properties"), GARBLED.values(), ids=GARBLED.keys())
def test_unreadable_properties_stop_no_consumer(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, flags: int, properties: bytes
) -> None:
    queue, odd, deliveries = unique("volume"), rb"\ud800", list[Delivery]()
    publisher.send(to(queue, "first", ""))
    publish_raw(broker, queue, odd, flags, properties)
    publisher.send(to(queue, "last"))

    with consuming(broker, topology, queue, deliveries.extend):
        until(lambda: len(deliveries) >= 4, "the message behind it")

    assert [each.body for each in deliveries] == [b"first", b"", odd, b"last"]


def publish_raw(broker: RabbitMQ, queue: str, body: bytes, flags: int, properties: bytes) -> None:
    """Publish with properties just as these bytes are."""
    with connector(broker)(0) as connection:
        channel = connection.channel()
        channel.confirm_select()
        method = struct.pack(">HHHB", 60, 40, 0, 0) + bytes([len(queue)]) + queue.encode() + b"\0"
        header = struct.pack(">HHQH", 60, 0, len(body), flags) + properties
        for kind, payload in ((1, method), (2, header), (3, body)):
            frame = struct.pack(">BHI", kind, channel.channel_id, len(payload)) + payload + b"\xce"
            connection.connection.transport.write(frame)
        channel.wait(amqp.spec.Basic.Ack, timeout=20)


def test_killed_broker_loses_no_confirmed_message(broker: RabbitMQ, topology: Topology, publisher: Publisher) -> None:
    queue = unique("volume")
    seen = Seen()
    with consuming(broker, topology, queue, seen):
        publisher.send(to(queue, "before"))
        until(lambda: b"before" in seen.bodies, "the first message")
        until(lambda: broker.remembers(queue), "the queue to be written down")
        seen.act = fail
        publisher.send(to(queue, "in hand"))
        until(lambda: b"in hand" in seen.bodies, "the second message")

        broker.kill()
        with pytest.raises(errors.Unavailable):
            publisher.send(to(queue, "while it is away"))
        broker.start()
        seen.batches.clear()  # before what is in hand may be handled
        seen.act = lambda batch: None

        until(lambda: sent(publisher, to(queue, "after")), "the publisher to be back", seconds=60)
        until(lambda: {b"in hand", b"after"} <= set(seen.bodies), "both messages", seconds=60)

    assert received(broker, queue) is None


def sent(through: Publisher | Bus, publications: Sequence[Publication]) -> bool:
    try:
        return bool(through.send(publications))
    except errors.Unavailable:
        return False


# Beside oslo.messaging.


class Stock:
    """A notification listener and a notifier of oslo.messaging's own, under the same configuration.

    The servers' queues are declared by our servers alone: oslo.messaging's clients publish to the exchange.
    """

    def __init__(self, names: Names) -> None:
        exchange = names.exchange
        topics = [oslo_messaging.Target(exchange=exchange, topic=topic) for topic in names.notification_topics]
        self.transport = oslo_messaging.get_notification_transport(cfg.CONF)
        self.listener = oslo_messaging.get_notification_listener(self.transport, topics, [self])
        topic = names.notification_topics[0]
        self.notifier = oslo_messaging.Notifier(self.transport, "test", driver="messagingv2", topics=[topic], retry=1)
        self.heard = 0

    def info(self, *event: Any) -> None:
        """Makes the listener take this priority."""
        self.heard += 1

    error = info

    def run(self) -> None:
        """Start it, so that everything is declared, let it hear a notification, and stop it."""
        self.listener.start()
        self.notifier.info({}, "test.event", {})
        until(lambda: self.heard, "the notification")
        self.listener.stop()
        self.listener.wait()
        self.transport.cleanup()  # or its heartbeat thread reconnects for ever


def run_ours(bus: Bus, names: Names) -> None:
    """Let our own side declare everything, and see messages through every queue."""
    queues = [*names.server_queues(SERVER), *names.audited_queues()]
    seen = Seen()
    consumer = bus.consume(queues, seen)
    asked = names.server_queues(SERVER)
    probes = [probe for queue in queues for probe in to(queue, queue, must_exist=queue in asked)]
    until(lambda: bus.send(probes) == set(queues), "all queues")
    until(lambda: {queue.encode() for queue in queues} <= set(seen.bodies), "all messages")
    consumer.stop()
    consumer.join(20)


@pytest.mark.parametrize("ours_first", [True, False], ids=["ours first", "theirs first"])
@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES.keys())
def test_exchange_and_queues_are_compatible_with_oslo_messaging(
    broker: RabbitMQ, tmp_path: Path, choice: str, ours_first: bool
) -> None:
    with connected(broker, tmp_path, choice) as (bus, names):
        stock = Stock(names)

        for run in [lambda: run_ours(bus, names), stock.run][:: 1 if ours_first else -1]:
            run()

    own_names = (names.exchange, names.volume_topic, *names.notification_topics)
    refused = [line for line in broker.log.read_text().splitlines() if any(name in line for name in own_names)]
    assert refused == []


@contextmanager
def answering(bus_and_names: tuple[Bus, Names], answer: Callable[[envelope.Incoming], bytes]) -> Iterator[None]:
    """A server that answers every call."""
    bus, names = bus_and_names

    def handle(batch: Sequence[Delivery]) -> None:
        for delivery in batch:
            incoming = envelope.open_request(delivery.body)
            bus.reply(str(incoming.reply_q), answer(incoming))

    consumer = bus.consume(names.server_queues(SERVER), handle)
    try:
        yield
    finally:
        consumer.stop()


def called(bus: Bus, arguments: dict[str, Any], context: dict[str, Any]) -> Any:
    """The answer, once the server's queue is there."""
    try:
        return bus.call(SERVER, "get_manageable_snapshots", arguments, context)
    except errors.Unavailable:
        return None


def test_call_of_oslo_messaging_s_client_gets_its_reply(bus_and_names: tuple[Bus, Names]) -> None:
    def answer(incoming: envelope.Incoming) -> bytes:
        return envelope.reply(incoming, [incoming.message["args"], incoming.ctxt["user_id"]])

    with answering(bus_and_names, answer):
        answered = until(lambda: called(bus_and_names[0], {"limit": 3}, {"user_id": "carol"}), "an answer")

    assert answered == [{"limit": 3}, "carol"]


def test_deliberate_error_of_a_call_is_raised_as_its_class(bus_and_names: tuple[Bus, Names]) -> None:
    def answer(incoming: envelope.Incoming) -> bytes:
        return envelope.reply(incoming, failure=errors.InvalidRequest("marker is gone"))

    with answering(bus_and_names, answer), pytest.raises(errors.InvalidRequest, match="marker is gone") as raised:
        until(lambda: called(bus_and_names[0], {}, {}), "an answer")

    assert raised.value.code == "invalid_request"


def test_server_that_never_ran_is_unavailable_at_once(bus_and_names: tuple[Bus, Names]) -> None:
    bus, _ = bus_and_names

    with pytest.raises(errors.Unavailable, match=SERVER):
        bus.call(SERVER, "get_manageable_snapshots", {}, {})
