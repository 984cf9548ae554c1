"""AMQP frames: write a batch in one piece, and read messages with unreadable or very large properties.

py-amqp builds and writes the frames of each message separately, which takes five times as long. It also fails at
messages whose properties it can't read, and makes objects of more than twenty times their bytes.
"""

import select
import struct
from collections.abc import Callable

import kombu

from snapmanage.bus import Publication
from snapmanage.bus.envelope import CONTENT_ENCODING, CONTENT_TYPE

# Kind, channel, payload.
Frame = tuple[int, int, bytes]

_METHOD, _HEADER, _BODY = 1, 2, 3
_END = b"\xce"
# Bytes of a frame around its payload.
OVERHEAD = 8
# Bytes of a header frame whose properties are read. The frame may have 128 KiB by default, which take 2.5 MB when read.
LARGEST_PROPERTIES = 8 * 1024
_PUBLISH = struct.pack(">HHH", 60, 40, 0)
_MANDATORY = b"\x01"
_PERSISTENT = b"\x02"
# Bytes of a header frame before its flags: class and length.
_BEFORE_FLAGS = 12
_NO_PROPERTIES = b"\0\0"
# Content type, encoding, delivery mode, message id: the properties that follow the header, in this order.
_FLAGS = 0x8000 | 0x4000 | 0x1000 | 0x0080


def publish(channel: int, exchange: str, publication: Publication, frame_max: int) -> bytes:
    """Return the frames of a persistent, mandatory message; `frame_max` is the broker's limit in bytes."""
    body = publication.body
    method = _PUBLISH + _short(exchange) + _short(publication.routing_key) + _MANDATORY
    properties = _CONTENT + _short(publication.message_id)
    header = struct.pack(">HHQH", 60, 0, len(body), _FLAGS) + properties
    largest = frame_max - OVERHEAD
    pieces = [body] if len(body) <= largest else [body[at : at + largest] for at in range(0, len(body), largest)]
    frames = [_frame(_METHOD, channel, method), _frame(_HEADER, channel, header)]
    return b"".join(frames + [_frame(_BODY, channel, piece) for piece in pieces if piece])


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + _END


def _short(text: str) -> bytes:
    """Encode an AMQP short string; raise `ValueError` beyond 255 bytes."""
    encoded = text.encode()
    return bytes([len(encoded)]) + encoded


def tolerate_unreadable_properties(on_frame: Callable[[Frame], bool]) -> Callable[[Frame], bool]:
    """Wrap py-amqp's `on_frame`: a message with unreadable or very large properties is delivered without properties.

    Another service's message may have a timestamp in milliseconds, or a string that is not UTF-8. Without the wrapper
    every delivery of it would raise, and block the messages behind it.
    """

    def read(frame: Frame) -> bool:
        kind, channel, payload = frame
        if kind != _HEADER:
            return on_frame(frame)
        without = (kind, channel, payload[:_BEFORE_FLAGS] + _NO_PROPERTIES)
        if len(payload) > LARGEST_PROPERTIES:
            return on_frame(without)
        try:
            return on_frame(frame)
        except Exception:  # noqa: BLE001 - only the properties can be the cause
            return on_frame(without)

    return read


def frame_available(connection: kombu.Connection) -> bool:
    """Return whether the socket has a frame to read; py-amqp reads frame by frame and buffers none."""
    sock = connection.connection.sock
    pending = getattr(sock, "pending", None)
    if pending is not None and pending():
        return True
    # Not `select.select`: it fails in a process with more than 1,023 open files.
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


_CONTENT = _short(CONTENT_TYPE) + _short(CONTENT_ENCODING) + _PERSISTENT
