"""The connections of the HTTP server: each has a deadline in every phase, and none holds a thread while it waits."""

import enum
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from waitress.buffers import OverflowableBuffer
from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.task import WSGITask

from snapmanage.api import requestids
from snapmanage.api.access.clients import client_of
from snapmanage.api.serving.parser import StrictParser
from snapmanage.api.serving.refusals import Refusal, RefusalTask

# A client that does not read is disconnected with so many unsent bytes of an answer that is made in pieces.
MOST_UNSENT_OF_ONE = 1 << 24


@dataclass(frozen=True)
class Deadlines:
    """Seconds for a whole head, a whole body and a whole answer, and of an idle connection.

    A proxy keeps its idle connections for 60 seconds (nginx), and must close them before this server does.
    """

    head: float = 10
    body: float = 20
    answer: float = 60
    idle: float = 75
    # A refused client may continue to send for this time: closing earlier would discard the answer.
    linger: float = 0.5


DEADLINES = Deadlines()


class Phase(enum.Enum):
    """The state of a connection; each name but RUNNING is the name of a deadline.

    The answer is part of RUNNING until it is written, and then waits for its client in ANSWER.
    """

    HEAD = "head"
    BODY = "body"
    RUNNING = "running"
    ANSWER = "answer"
    IDLE = "idle"
    LINGER = "linger"


class Task(WSGITask):
    """A request of the application."""

    def execute(self) -> None:
        if self.channel.server.stopping:
            self.set_close_on_finish()
        try:
            super().execute()
        except OSError as error:  # waitress takes it for an error of the client's socket, and hides it
            raise RuntimeError("the application failed") from error
        finally:
            self.request.request_id = (self.environ or {}).get(requestids.REQUEST_ID)


class Channel(HTTPChannel):
    """One connection of a `client`; `since` is the monotonic time at which its phase began."""

    request: Any
    requests: Any
    close_when_flushed: bool
    sent_continue: bool
    parser_class = StrictParser
    task_class = Task
    error_task_class = RefusalTask

    def __init__(self, server: Any, sock: socket.socket, address: Any, adj: Any, map: Any = None) -> None:
        self.since = time.monotonic()
        self.client = client_of(address[0])
        self._served = 0
        self._unparsed = b""
        self._refused = self._lingering = False
        self._seen = (Phase.HEAD, 0)
        super().__init__(server, sock, address, adj, map)

    @property
    def phase(self) -> Phase:
        if self._lingering:
            return Phase.LINGER
        if self.requests:  # also while a thread writes the answer
            return Phase.RUNNING
        if self.total_outbufs_len:
            return Phase.ANSWER
        if self.request is not None:
            return Phase.BODY if self.request.headers_finished else Phase.HEAD
        return Phase.IDLE if self._served else Phase.HEAD

    @property
    def held_bytes(self) -> int:
        """Return the number of bytes that have arrived, of requests that are not answered."""
        partial = [] if self.request is None else [self.request]
        parsed: int = sum(each.held_bytes for each in [*partial, *self.requests])
        return parsed + len(self._unparsed)

    def check_deadline(self, now: float, deadlines: Deadlines) -> None:
        """Close the connection if its phase has lasted too long; a client in the middle of its request gets 408."""
        phase = self.phase
        if (phase, self._served) != self._seen:
            self._enter(phase, now)
        if phase is Phase.RUNNING or now - self.since < getattr(deadlines, phase.value):
            return
        if phase in (Phase.HEAD, Phase.BODY) and self.request is not None and self.request.started:
            part = "body" if self.request.headers_finished else "head"
            self.refuse(Refusal(408, f"The {part} of the request did not arrive in time."))
        else:
            self.handle_close()

    def refuse(self, refusal: Refusal) -> None:
        """Answer a request that arrives, or that no thread will handle, with a refusal, and release its memory."""
        with self.requests_lock:
            if self.request is not None:
                self.requests.append(self.request)
                self.request = None
            self.requests[0].refuse(refusal)
            self._unparsed = b""
            self._refused = True
            self.server.add_task(self)

    def linger(self) -> None:
        """Close the connection when the client has read the answer, not at once."""
        self._refused = True

    def readable(self) -> bool:
        """Return whether the loop shall read; a client that sends in advance waits until all read bytes are parsed."""
        return self._lingering or (not self._unparsed and bool(super().readable()))

    def writable(self) -> bool:
        """Return whether the loop shall call `handle_write`, which also parses requests that were sent in advance."""
        return bool(super().writable()) or self._may_parse

    def handle_read(self) -> None:
        if self._refused:
            with suppress(OSError):
                self.recv(self.adj.recv_bytes)
        else:
            super().handle_read()

    def handle_write(self) -> None:
        if not (self._refused and self.close_when_flushed):
            super().handle_write()
            self._parse()
            return
        self._flush_exception(self._flush_some)
        if self.will_close:
            self.handle_close()
        elif self.connected and not self.total_outbufs_len:
            self._start_lingering()

    def received(self, data: bytes) -> bool:
        if self.phase is Phase.IDLE:
            self._enter(Phase.HEAD, time.monotonic())
        self._unparsed += data
        self._parse()
        self.server.limit_held(len(data))
        return True

    def service(self) -> None:
        self._served += 1
        with suppress(ClientDisconnected):
            super().service()

    def write_soon(self, data: Any) -> int:
        written: int = super().write_soon(data)
        if self.total_outbufs_len:
            self.server.limit_unsent(self)
        return written

    def discard(self) -> None:
        """Release the memory of unsent answers and of requests in advance, before the loop closes the connection."""
        with self.outbuf_lock:
            self.connected = False
            self._unparsed = b""
            self.outbufs = [OverflowableBuffer(self.adj.outbuf_overflow)]
            self.total_outbufs_len = self.current_outbuf_count = 0

    def _flush_outbufs_below_high_watermark(self) -> None:
        """Disconnect a client that does not read; waitress would block the thread until the client reads."""
        if self.total_outbufs_len > MOST_UNSENT_OF_ONE:
            self.server.disconnect(self)
            raise ClientDisconnected

    def _parse(self) -> None:
        """Parse the next request once the answer before it is sent.

        waitress parses all requests that a client sent in advance, and so needs fifty times the memory of their bytes.
        """
        with self.requests_lock:
            while self._may_parse:
                self.request = self.request or self.parser_class(self.adj)
                consumed = self.request.received(self._unparsed)
                self._unparsed = self._unparsed[consumed:]
                if self.request.expect_continue and self.request.headers_finished and not self.sent_continue:
                    self.send_continue()
                if self.request.completed:
                    self.sent_continue = False
                    self.requests.append(self.request)
                    self.request = None
                    self.server.add_task(self)

    @property
    def _may_parse(self) -> bool:
        is_busy = self.requests or self.total_outbufs_len
        is_closing = not self.connected or self.will_close or self.close_when_flushed or self._lingering
        return bool(self._unparsed) and not is_busy and not is_closing

    def _start_lingering(self) -> None:
        self.close_when_flushed = False
        self._lingering = True
        self._enter(Phase.LINGER, time.monotonic())
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:  # the client has left
            self.handle_close()

    def _enter(self, phase: Phase, now: float) -> None:
        self._seen, self.since = (phase, self._served), now
