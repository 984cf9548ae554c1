"""Clients that send slowly, for tests and benchmarks of the HTTP server."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from socket import socket


@contextmanager
def dripping(connections: Iterable[socket], drop: bytes, interval_seconds: float) -> Iterator[None]:
    """Send `drop` on each connection again and again, also if the server has closed some of them."""
    ended = threading.Event()

    def drip() -> None:
        while not ended.wait(interval_seconds):
            for connection in connections:
                with suppress(OSError):
                    connection.sendall(drop)

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
