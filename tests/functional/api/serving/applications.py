"""Small WSGI applications for tests of the server."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

LARGE_BYTES = 1 << 23
# More than Linux takes for a client that does not read (4 MiB here, 6 MiB there), less than the server disconnects for.
UNREAD_BYTES = 12 << 20
PIECE_BYTES = 1 << 20


def plain(environ: Any, start_response: Any) -> list[bytes]:
    """Answer with the length of the body."""
    body = str(len(environ["wsgi.input"].read())).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def large(environ: Any, start_response: Any) -> list[bytes]:
    """Answer with more than the buffers of a socket hold."""
    start_response("200 OK", [("Content-Length", str(LARGE_BYTES))])
    return [b"x" * LARGE_BYTES]


def in_pieces(environ: Any, start_response: Any) -> Iterator[bytes]:
    """Answer with as many pieces as the body of the request has bytes."""
    count = len(environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Length", str(count * PIECE_BYTES))])
    for _ in range(count):
        yield b"x" * PIECE_BYTES


@dataclass
class Held:
    """Waits for `release`, then answers with the length of the request's body.

    The first answer begins with `early` bytes, before the wait. The answers after it must not fill the memory for
    unread answers, or the server would disconnect the first client.
    """

    early: int = 0
    running: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)

    def __call__(self, environ: Any, start_response: Any) -> Iterator[bytes]:
        length = str(len(environ["wsgi.input"].read())).encode()
        early = b"" if self.running.is_set() else b"x" * self.early
        start_response("200 OK", [("Content-Length", str(len(early + length)))])
        yield early
        self.running.set()
        self.release.wait(20)
        yield length
