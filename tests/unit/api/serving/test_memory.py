"""The memory that clients of the HTTP server take: requests without an answer, and answers that no client reads."""

import fcntl
import socket
import struct
import termios
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import pytest
from waitress.adjustments import Adjustments

from snapmanage.api.serving.acceptor import CHECK_BYTES, MOST_HELD, MOST_UNSENT, Acceptor
from snapmanage.api.serving.channels import DEADLINES, Channel, Phase
from snapmanage.api.serving.refusals import Refusal
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

    def withdraw(self, channel: Channel) -> bool:
        return False

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
class Waiting:
    """A connection that waits since `since`, with an answer or a request; `ended` has the form of its end."""

    total_outbufs_len: int = 0
    held_bytes: int = 0
    since: float = 0
    phase: Phase = Phase.ANSWER
    request: object = None
    client: str = "192.0.2.1"
    ended: str = ""

    def discard(self) -> None:
        self.total_outbufs_len = 0

    def handle_close(self) -> None:
        self.ended = "closed"

    def refuse(self, refusal: Refusal) -> None:
        self.ended = f"refused with {refusal.status}"


@contextmanager
def connections(acceptor: Acceptor, *waiting: Waiting) -> Iterator[None]:
    """Give an acceptor other connections for a while, and let it close those that it does not want."""
    before, acceptor.active_channels = acceptor.active_channels, dict(enumerate(waiting))
    yield
    acceptor.active_channels = before
    acceptor.handle_events(0)


@pytest.mark.parametrize(("excess", "ends"), [(0, ["", "", ""]), (1, ["", "", "closed"])])
def test_unsent_answers_beyond_64_mib_close_the_connection_that_has_waited_longest(
    steps: Steps, excess: int, ends: list[str]
) -> None:
    writing, younger, older = Waiting(20_000, 0, 1), Waiting(20_000, 0, 3), Waiting(MOST_UNSENT - 40_000 + excess, 0, 2)

    with connections(steps.acceptor, writing, younger, older):
        steps.acceptor.limit_unsent(cast(Channel, writing))

    assert [each.ended for each in (writing, younger, older)] == ends


@pytest.mark.parametrize(("excess", "end"), [(0, ""), (1, "refused with 503")])
def test_requests_beyond_60_mib_are_refused_when_4_mib_have_arrived(steps: Steps, excess: int, end: str) -> None:
    older, younger = [Waiting(0, 30 << 20, since, Phase.BODY, request=object()) for since in (1, 2)]
    older.held_bytes += excess

    with connections(steps.acceptor, younger, older):
        steps.acceptor.limit_held(CHECK_BYTES)

    assert (older.ended, younger.ended) == (end, "")


def test_requests_are_checked_after_4_mib_only(steps: Steps) -> None:
    large = Waiting(0, MOST_HELD, phase=Phase.BODY, request=object())

    with connections(steps.acceptor, large):
        steps.acceptor.limit_held(CHECK_BYTES - 1)
        assert not large.ended

        steps.acceptor.limit_held(1)
        assert large.ended


def test_requests_in_advance_count_and_their_connection_is_closed_while_its_client_reads_no_answer(
    steps: Steps,
) -> None:
    unread = Waiting(1, MOST_HELD)

    with connections(steps.acceptor, unread):
        steps.acceptor.limit_held(CHECK_BYTES)

    assert unread.ended == "closed"


def test_request_that_a_thread_handles_is_not_refused(steps: Steps) -> None:
    running = Waiting(0, MOST_HELD, phase=Phase.RUNNING)

    with connections(steps.acceptor, running):
        steps.acceptor.limit_held(CHECK_BYTES)

    assert not running.ended


def test_connection_holds_the_bytes_of_its_requests_until_they_are_answered(steps: Steps) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    [channel] = steps.acceptor.active_channels.values()

    def held_after(data: bytes) -> int:
        steps.client.send(data)
        steps.acceptor.handle_events(0)
        return int(channel.held_bytes)

    assert held_after(head[:20]) == 20
    assert held_after(head[20:] + b"x" * 500) == len(head) + 500
    assert held_after(b"x" * 500 + ASK) == len(head) + 1000 + len(ASK)
    steps.handle_request()
    assert held_after(b"") == len(ASK)
    steps.handle_request()
    assert channel.held_bytes == 0


def test_refused_request_waits_with_no_requests_in_advance(steps: Steps) -> None:
    [channel] = steps.acceptor.active_channels.values()
    steps.client.send(ASK * 3)
    steps.acceptor.handle_events(0)
    assert channel.held_bytes == 3 * len(ASK)

    channel.refuse(Refusal(503, "Too much."))

    assert channel.held_bytes == 0


def test_connection_that_will_be_closed_holds_no_requests_in_advance(steps: Steps) -> None:
    [channel] = steps.acceptor.active_channels.values()
    steps.client.send(ASK * 3)
    steps.acceptor.handle_events(0)

    channel.discard()

    assert channel.held_bytes == len(ASK)


def test_client_that_leaves_before_its_refusal_causes_no_error(steps: Steps, caplog: pytest.LogCaptureFixture) -> None:
    [channel] = steps.acceptor.active_channels.values()
    steps.client.send(b"garbage\r\n\r\n")
    channel.handle_read()
    steps.client.close()

    steps.acceptor.handle_events(0)  # refuses the request
    steps.acceptor.handle_events(0)  # would send the rest of the refusal

    assert not steps.acceptor.active_channels
    assert not [record for record in caplog.records if record.name == "waitress"]


def test_refused_request_holds_nothing(steps: Steps) -> None:
    [channel] = steps.acceptor.active_channels.values()
    steps.client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500)
    steps.acceptor.handle_events(0)

    steps.client.send(b"x" * 500)

    channel.refuse(Refusal(503, "Too much."))
    channel.handle_read()  # the loop may have decided to read before

    assert (channel.held_bytes, steps.unread) == (0, 0)
    steps.acceptor.handle_events(0)
    assert steps.client.recv(READ_BYTES).startswith(b"HTTP/1.1 503 ")
