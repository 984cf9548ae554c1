"""The memory that clients of the HTTP server take: requests in advance, and answers that no client reads."""

import fcntl
import socket
import struct
import termios
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

import pytest
from waitress.adjustments import Adjustments

from snapmanage.api.serving.acceptor import MOST_UNSENT, Acceptor
from snapmanage.api.serving.channels import DEADLINES, Channel
from snapmanage.api.serving.server import ADJUSTMENTS
from tests.functional.api.serving.applications import plain

ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
READ_BYTES = 64 * 1024


class Tasks:
    """A dispatcher without threads; a test handles the requests itself."""

    def __init__(self) -> None:
        self.waiting: list[Channel] = []

    def add_task(self, channel: Channel) -> None:
        self.waiting.append(channel)

    def shutdown(self, timeout: float) -> None:
        pass


class Steps:
    """A server whose loop a test moves on, with one connection."""

    def __init__(self, stack: ExitStack) -> None:
        self.tasks = Tasks()
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        adjustments = Adjustments(sockets=[listening], **ADJUSTMENTS)
        known: dict[int, Any] = {}
        self.acceptor = Acceptor(plain, DEADLINES, _sock=listening, dispatcher=self.tasks, adj=adjustments, map=known)
        stack.callback(self.acceptor.drain, 0)
        self.client, self.connection = map(stack.enter_context, socket.socketpair())
        Channel(self.acceptor, self.connection, ("127.0.0.1", 1), adjustments, map=known)
        self.client.setblocking(False)

    def handle_request(self) -> None:
        """Let the server read, handle one request, and let the client read its answer."""
        while not self.tasks.waiting:
            self.acceptor.handle_events(0)
        self.tasks.waiting.pop().service()
        self.acceptor.handle_events(0)
        self.client.recv(READ_BYTES)

    @property
    def unread(self) -> int:
        """Return the bytes that the client has sent and the server has not read."""
        return int(struct.unpack("i", fcntl.ioctl(self.connection, termios.FIONREAD, b"\0" * 4))[0])


@pytest.fixture
def steps() -> Iterator[Steps]:
    with ExitStack() as stack:
        yield Steps(stack)


def test_server_reads_64_kib_of_requests_in_advance_and_the_rest_after_their_answers(steps: Steps) -> None:
    sent = steps.client.send(ASK * 6000)

    for _ in range(10):
        steps.handle_request()
    assert steps.unread == sent - READ_BYTES

    for _ in range(READ_BYTES // len(ASK)):
        steps.handle_request()
    assert sent - 3 * READ_BYTES <= steps.unread <= sent - 2 * READ_BYTES


@dataclass(eq=False)
class UnreadAnswer:
    """A connection whose client does not read; `since` is the time from which it has not."""

    total_outbufs_len: int
    since: float
    is_closed: bool = False

    def discard_unsent(self) -> None:
        self.total_outbufs_len = 0

    def handle_close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize(("excess", "closed"), [(0, [False, False, False]), (1, [False, False, True])])
def test_unsent_answers_beyond_64_mib_close_the_connection_that_has_waited_longest(
    steps: Steps, excess: int, closed: list[bool]
) -> None:
    writing, younger, older = UnreadAnswer(1000, 1), UnreadAnswer(1000, 3), UnreadAnswer(MOST_UNSENT - 2000 + excess, 2)
    steps.acceptor.active_channels = dict(enumerate([writing, younger, older]))

    steps.acceptor.limit_unsent(cast(Channel, writing))

    steps.acceptor.active_channels = {}
    steps.acceptor.handle_events(0)
    assert [each.is_closed for each in (writing, younger, older)] == closed
