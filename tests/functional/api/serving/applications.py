"""Small WSGI applications for tests of the server."""

from collections.abc import Iterator
from typing import Any

LARGE_BYTES = 1 << 23
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
