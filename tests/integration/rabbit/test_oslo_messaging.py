"""snapmanage and oslo.messaging's own clients share exchange, queues and calls."""

import bz2
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import oslo_messaging
import pytest
from oslo_config import cfg

from snapmanage import errors
from snapmanage.bus import Bus, Delivery, envelope
from snapmanage.bus.names import Names
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.examples import SERVER
from tests.integration.rabbit.configured_bus import CHOICES, connected
from tests.integration.rabbit.consumers import RecordingHandler
from tests.integration.rabbit.queues import publications
from tests.integration.rabbit.test_unreadable_messages import GARBLED, publish_raw


class OsloListener:
    """oslo.messaging's own notification listener and notifier, with the configuration of snapmanage.

    Only snapmanage's servers declare the servers' queues: oslo.messaging's clients publish to the exchange.
    """

    def __init__(self, names: Names) -> None:
        exchange = names.exchange
        topics = [oslo_messaging.Target(exchange=exchange, topic=topic) for topic in names.notification_topics]
        self.transport = oslo_messaging.get_notification_transport(cfg.CONF)
        self.listener = oslo_messaging.get_notification_listener(self.transport, topics, [self])
        topic = names.notification_topics[0]
        self.notifier = oslo_messaging.Notifier(self.transport, "test", driver="messagingv2", topics=[topic], retry=1)
        self.events = 0

    def info(self, *event: Any) -> None:
        """Count an event; the listener consumes the priorities that have such a method."""
        self.events += 1

    error = info

    def run(self) -> None:
        """Start the listener, so that it declares its queues; stop it once it has received a notification."""
        self.listener.start()
        self.notifier.info({}, "test.event", {})
        until(lambda: self.events, "the notification")
        self.listener.stop()
        self.listener.wait()
        self.transport.cleanup()  # otherwise its heartbeat thread reconnects for ever


def run_snapmanage(bus: Bus, names: Names) -> None:
    """Let snapmanage declare all its queues, and receive a message through each."""
    queues = [*names.server_queues(SERVER), *names.event_keys()]
    handler = RecordingHandler()
    consumer = bus.consume(queues, handler)
    server_queues = names.server_queues(SERVER)
    probes = [probe for queue in queues for probe in publications(queue, queue, must_exist=queue in server_queues)]
    until(lambda: bus.send(probes) == set(queues), "all queues")
    until(lambda: {queue.encode() for queue in queues} <= set(handler.bodies), "all messages")
    consumer.stop()
    consumer.join(20)


@contextmanager
def answering(bus_and_names: tuple[Bus, Names], answer: Callable[[envelope.Incoming], bytes]) -> Iterator[None]:
    """Run a server that answers every call with the result of `answer`."""
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


def answer_of(bus: Bus, arguments: dict[str, Any], context: dict[str, Any]) -> Any:
    """Return the answer to a call; None while the server's queue is missing."""
    try:
        return bus.call(SERVER, "get_manageable_snapshots", arguments, context)
    except errors.Unavailable:
        return None


@pytest.fixture
def bus_and_names(broker: RabbitMQ, tmp_path: Path) -> Iterator[tuple[Bus, Names]]:
    with connected(broker.url, tmp_path) as made:
        yield made


@pytest.mark.parametrize("ours_first", [True, False], ids=["ours first", "theirs first"])
@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES.keys())
def test_exchange_and_queues_are_compatible_with_oslo_messaging(
    broker: RabbitMQ, tmp_path: Path, choice: str, ours_first: bool
) -> None:
    with connected(broker.url, tmp_path, choice) as (bus, names):
        theirs = OsloListener(names)

        for run in [lambda: run_snapmanage(bus, names), theirs.run][:: 1 if ours_first else -1]:
            run()

    own_names = (names.exchange, names.volume_topic, *names.notification_topics)
    refused = [line for line in broker.log.read_text().splitlines() if any(name in line for name in own_names)]
    assert refused == []


def test_call_of_oslo_messaging_s_client_gets_its_reply(bus_and_names: tuple[Bus, Names]) -> None:
    def answer(incoming: envelope.Incoming) -> bytes:
        return envelope.reply(incoming, [incoming.message["args"], incoming.ctxt["user_id"]])

    with answering(bus_and_names, answer):
        answered = until(lambda: answer_of(bus_and_names[0], {"limit": 3}, {"user_id": "carol"}), "an answer")

    assert answered == [{"limit": 3}, "carol"]


def test_deliberate_error_of_a_call_is_raised_as_its_class(bus_and_names: tuple[Bus, Names]) -> None:
    def answer(incoming: envelope.Incoming) -> bytes:
        return envelope.reply(incoming, failure=errors.InvalidRequest("marker is gone"))

    with answering(bus_and_names, answer), pytest.raises(errors.InvalidRequest, match="marker is gone") as raised:
        until(lambda: answer_of(bus_and_names[0], {}, {}), "an answer")

    assert raised.value.code == "invalid_request"


@pytest.mark.parametrize(("flags", "properties"), GARBLED.values(), ids=GARBLED.keys())
def test_unreadable_properties_of_a_reply_stop_no_later_call(
    broker: RabbitMQ, bus_and_names: tuple[Bus, Names], flags: int, properties: bytes
) -> None:
    def answer(incoming: envelope.Incoming) -> bytes:
        publish_raw(broker, str(incoming.reply_q), b"{}", flags, properties)
        return envelope.reply(incoming, incoming.message["args"])

    with answering(bus_and_names, answer):
        first = until(lambda: answer_of(bus_and_names[0], {"limit": 1}, {}), "an answer")
        second = answer_of(bus_and_names[0], {"limit": 2}, {})

    assert [first, second] == [{"limit": 1}, {"limit": 2}]


HOSTILE_REPLIES = {
    "bz2": (bz2.compress(b"x" * 10_000_000), ("text/plain", "bz2_codec")),
    "zlib": (zlib.compress(b"x" * 10_000_000), ("application/data", "zlib_codec")),
    "punycode": (b"a" * 1_500_000, ("text/plain", "punycode")),
    "id of a list": (envelope.reply(envelope.Incoming({}, {}, ["x"])), ("application/json", "utf-8")),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("body", "kind"), HOSTILE_REPLIES.values(), ids=HOSTILE_REPLIES.keys())
def test_hostile_reply_is_not_decoded_as_it_says_and_stops_no_call(
    broker: RabbitMQ,
    bus_and_names: tuple[Bus, Names],
    caplog: pytest.LogCaptureFixture,
    body: bytes,
    kind: tuple[str, str],
) -> None:
    """The sender chooses the codec: 500 bytes filled 100 MiB, and `punycode` takes hours for some megabytes."""

    def answer(incoming: envelope.Incoming) -> bytes:
        encoded = b"".join(bytes([len(text)]) + text.encode() for text in kind)
        publish_raw(broker, str(incoming.reply_q), body, 0xC000, encoded)
        return envelope.reply(incoming, incoming.message["args"])

    with answering(bus_and_names, answer):
        answered = until(lambda: answer_of(bus_and_names[0], {"limit": 1}, {}), "an answer")

    assert answered == {"limit": 1}
    assert [record.name for record in caplog.records if record.exc_info] == []


def test_server_that_never_ran_is_unavailable_at_once(bus_and_names: tuple[Bus, Names]) -> None:
    bus, _ = bus_and_names

    with pytest.raises(errors.Unavailable, match=SERVER):
        bus.call(SERVER, "get_manageable_snapshots", {}, {})
