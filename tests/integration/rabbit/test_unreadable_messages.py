"""A message that kombu cannot decode stops no consumer."""

import bz2
import struct

import amqp
import pytest

from snapmanage.bus import Delivery
from snapmanage.bus.rabbit.bus import Publisher
from snapmanage.bus.rabbit.topology import Topology
from snapmanage.testing.services.process import unique
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.integration.rabbit.consumers import RecordingHandler, consuming
from tests.integration.rabbit.queues import connector, next_message, publications


def header_table(*pairs: bytes) -> bytes:
    written = b"".join(pairs)
    return struct.pack(">I", len(written)) + written


MILLISECONDS = struct.pack(">Q", 1_800_000_000_000)

# The flags that announce the properties, and the encoded properties.
GARBLED = {
    "id that is no text": (0x0080, b"\x02\xff\xfe"),
    "header's time in milliseconds": (0x2000, header_table(b"\x02atT" + MILLISECONDS)),
    "header's name that is no text": (0x2000, header_table(b"\x02\xff\xfet\x01")),
    "encoding that makes no text": (0x4000, b"\x0eunicode_escape"),
}


def publish_raw(broker: RabbitMQ, queue: str, body: bytes, flags: int, properties: bytes) -> None:
    """Publish a message with these encoded properties."""
    with connector(broker)(0) as connection:
        channel = connection.channel()
        channel.confirm_select()
        method = struct.pack(">HHHB", 60, 40, 0, 0) + bytes([len(queue)]) + queue.encode() + b"\0"
        header = struct.pack(">HHQH", 60, 0, len(body), flags) + properties
        pieces = [body[at : at + 100_000] for at in range(0, len(body), 100_000)]
        for kind, payload in ((1, method), (2, header), *((3, piece) for piece in pieces)):
            frame = struct.pack(">BHI", kind, channel.channel_id, len(payload)) + payload + b"\xce"
            connection.connection.transport.write(frame)
        channel.wait(amqp.spec.Basic.Ack, timeout=20)


def test_headers_that_kombu_can_not_decode_stop_no_consumer(
    broker: RabbitMQ, topology: Topology, publisher: Publisher
) -> None:
    queue = unique("volume")
    publisher.send(publications(queue, "first"))
    with connector(broker)(0) as connection:
        headers = {"compression": "nonsense"}
        connection.Producer().publish("odd", routing_key=queue, headers=headers, content_encoding="nonsense")
    publisher.send(publications(queue, "last"))
    handler = RecordingHandler()

    with consuming(broker, topology, queue, handler):
        until(lambda: b"last" in handler.bodies, "the last message")

    assert handler.bodies == [b"first", b"odd", b"last"]


@pytest.mark.parametrize(("flags", "properties"), GARBLED.values(), ids=GARBLED.keys())
def test_unreadable_properties_stop_no_consumer(
    broker: RabbitMQ, topology: Topology, publisher: Publisher, flags: int, properties: bytes
) -> None:
    queue, odd, deliveries = unique("volume"), rb"\ud800", list[Delivery]()
    publisher.send(publications(queue, "first", ""))
    publish_raw(broker, queue, odd, flags, properties)
    publisher.send(publications(queue, "last"))

    with consuming(broker, topology, queue, deliveries.extend):
        until(lambda: len(deliveries) >= 4, "the last message")

    assert [each.body for each in deliveries] == [b"first", b"", odd, b"last"]


def test_compressed_body_is_read_as_it_was_sent(broker: RabbitMQ) -> None:
    """A message of 15 MiB would fill 15 GiB, also as a reply to a call of oslo.messaging's client."""
    queue = unique("replies")
    with connector(broker)(0) as connection:
        connection.default_channel.queue_declare(queue)
        connection.Producer().publish("x" * 1_000_000, routing_key=queue, compression="zlib", headers={"x-n": 1})

    message = next_message(broker, queue)

    assert len(message.body) < 10_000
    assert message.headers == {"x-n": 1}


@pytest.mark.parametrize("codec", ["bz2", "punycode", "binary"])
def test_encoding_that_the_sender_chose_decodes_no_body(broker: RabbitMQ, codec: str) -> None:
    """600 bytes in the encoding `bz2` would fill 800 MB, also as a reply to a call of oslo.messaging's client."""
    queue, body = unique("replies"), bz2.compress(b"x" * 1_000_000) if codec == "bz2" else b"ab-kva"
    with connector(broker)(0) as connection:
        connection.default_channel.queue_declare(queue)
        connection.Producer().publish(body, routing_key=queue, content_type="x/y", content_encoding=codec)

    message = next_message(broker, queue)

    assert message.body == body
    assert message.decode() == {}


def test_very_large_headers_are_not_read(broker: RabbitMQ, topology: Topology, publisher: Publisher) -> None:
    queue, deliveries = unique("volume"), list[Delivery]()
    publisher.send(publications(queue, "first"))
    entries = [struct.pack(">B4sc", 4, f"{number:04}".encode(), b"V") for number in range(2000)]
    publish_raw(broker, queue, b"large", 0x2000, header_table(*entries))
    publish_raw(broker, queue, b"small", 0x2000, header_table(*entries[:2]))

    with consuming(broker, topology, queue, deliveries.extend):
        until(lambda: len(deliveries) == 3, "the last message")

    assert [(each.body, each.headers) for each in deliveries] == [
        (b"first", {}),
        (b"large", {}),
        (b"small", {"0000": None, "0001": None}),
    ]
