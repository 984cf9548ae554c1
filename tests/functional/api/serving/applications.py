"""Small WSGI applications for tests of the server."""

from typing import Any

LARGE_BYTES = 1 << 23


def plain(environ: Any, start_response: Any) -> list[bytes]:
    """Answer with the length of the body."""
    body = str(len(environ["wsgi.input"].read())).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def large(environ: Any, start_response: Any) -> list[bytes]:
    """Answer with more than the buffers of a socket hold."""
    start_response("200 OK", [("Content-Length", str(LARGE_BYTES))])
    return [b"x" * LARGE_BYTES]
