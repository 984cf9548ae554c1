"""The frames of a published message, read back by py-amqp."""

import fcntl
import os
import resource
import socket
from collections.abc import Iterator
from struct import unpack_from
from types import SimpleNamespace
from typing import Any

import pytest
from amqp.method_framing import frame_handler
from amqp.serialization import loads

from snapmanage.bus import Publication
from snapmanage.bus.rabbit import frames

FRAME_MAX = 4096
DELIVER = b"\x00\x3c\x00\x3c"
PUBLISH = b"\x00\x3c\x00\x28"


def split_frames(written: bytes) -> Iterator[tuple[int, int, bytes]]:
    while written:
        kind, channel, size = unpack_from(">BHI", written)
        assert size + frames.OVERHEAD <= FRAME_MAX
        assert written[7 + size] == 0xCE
        yield kind, channel, written[7 : 7 + size]
        written = written[8 + size :]


def read_message(written: bytes) -> tuple[Any, Any]:
    """Return the method's arguments and the message, as py-amqp reads them."""
    received: list[Any] = []
    on_frame = frame_handler(SimpleNamespace(bytes_recv=0), lambda *arguments: received.append(arguments))
    for kind, channel, payload in split_frames(written):
        # py-amqp reads content only after a frame that a broker sends.
        assert kind != 1 or payload.startswith(PUBLISH)
        on_frame((kind, channel, payload.replace(PUBLISH, DELIVER, 1) if kind == 1 else payload))
    [(channel, _, arguments, message)] = received
    assert channel == 5
    return loads("Bssbb", arguments, 4)[0], message


@pytest.mark.parametrize("size", [0, 1, FRAME_MAX - 8, FRAME_MAX - 7, 3 * FRAME_MAX])
def test_message_of_any_size_is_read_unchanged(size: int) -> None:
    publication = Publication("an-id", "a.queue", bytes(range(256)) * (size // 256) + b"x" * (size % 256))

    arguments, message = read_message(frames.publish(5, "an-exchange", publication, FRAME_MAX))

    assert arguments == [0, "an-exchange", "a.queue", True, False]
    assert bytes(message.body if size else b"") == publication.body
    assert message.properties == {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "delivery_mode": 2,
        "message_id": "an-id",
    }


@pytest.mark.parametrize("longest", ["q" * 255, "q" + "\u00e9" * 127])
def test_name_of_a_queue_has_at_most_255_bytes(longest: str) -> None:
    arguments, _ = read_message(frames.publish(5, "", Publication("an-id", longest, b"x"), FRAME_MAX))

    assert arguments[2] == longest
    with pytest.raises(ValueError, match="range"):
        frames.publish(5, "", Publication("an-id", longest + "q", b"x"), FRAME_MAX)


@pytest.mark.parametrize(("longer", "is_read"), [(0, True), (1, False)])
def test_properties_beyond_their_limit_are_not_read(longer: int, is_read: bool) -> None:
    received: list[tuple[int, int, bytes]] = []
    payload = b"x" * (frames.LARGEST_PROPERTIES + longer)

    def on_frame(frame: tuple[int, int, bytes]) -> bool:
        received.append(frame)
        return True

    frames.tolerate_unreadable_properties(on_frame)((2, 5, payload))

    [(_, _, read)] = received
    assert read == (payload if is_read else payload[:12] + b"\0\0")


@pytest.fixture
def high_descriptor() -> Iterator[int]:
    """Yield a descriptor of a socket above the limit of `select`; the peer of the socket has written a byte."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), max(hard, 2048)))
    low, peer = socket.socketpair()
    with low, peer:
        high = fcntl.fcntl(low, fcntl.F_DUPFD, 1500)
        peer.send(b"x")
        yield high
        os.close(high)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_frame_is_found_in_a_process_with_more_open_files_than_select_allows(high_descriptor: int) -> None:
    sock = SimpleNamespace(fileno=lambda: high_descriptor)
    connection: Any = SimpleNamespace(connection=SimpleNamespace(sock=sock))

    assert frames.frame_available(connection)
