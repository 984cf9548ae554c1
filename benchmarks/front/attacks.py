"""Clients that hold connections, while others ask for /healthcheck."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from benchmarks.machine import quantile_ms
from snapmanage.testing.services.process import LOOPBACK

TIMEOUT_SECONDS = 5.0
HEALTH = b"GET /healthcheck HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
HALF_A_BODY = (
    b"POST /v3/0123456789abcdef0123456789abcdef/os-snapshot-manage HTTP/1.1\r\nHost: x\r\n"
    b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
)
HALF_A_HEAD = b"GET /healthcheck HTTP/1.1\r\nHost: x\r\n"
LARGE = b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
HEALTH_CHECKS = 30


def check_health(port: int) -> float | None:
    """Return the seconds of one request on a connection of its own; None without an answer in time."""
    started = time.perf_counter()
    with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=TIMEOUT_SECONDS) as connection:
        connection.sendall(HEALTH)
        if connection.recv(65536).startswith(b"HTTP/1.1 200"):
            return time.perf_counter() - started
    return None


def health(port: int, checks: int = HEALTH_CHECKS) -> dict[str, Any]:
    """Ask one after another; after three requests without an answer the rest count as unanswered too."""
    took: list[float] = []
    failed = 0
    for _ in range(checks):
        seconds = check_health(port)
        if seconds is not None:
            took.append(seconds)
        else:
            failed += 1
            if failed == 3:
                failed = checks - len(took)
                break
    figures = {"p50_ms": quantile_ms(took, 0.5), "max_ms": quantile_ms(took, 1)} if took else {}
    return figures | {"unanswered": failed}


@contextmanager
def held(port: int, count: int, data: bytes = b"", buffer: int = 0) -> Iterator[list[socket.socket]]:
    """Hold connections that sent `data`; with `buffer`, of a client that receives little."""
    connections = []
    for _ in range(count):
        connection = socket.socket()
        if buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.settimeout(TIMEOUT_SECONDS)
        with suppress(OSError):
            connection.connect((LOOPBACK, port))
            connection.sendall(data)
        connections.append(connection)
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


def connect_together(port: int, count: int) -> int:
    """Let `count` clients connect and ask at the same moment; return the number without an answer."""
    barrier = threading.Barrier(count)
    answered: list[float | None] = []

    def ask() -> None:
        barrier.wait()
        answered.append(check_health(port))

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count - sum(one is not None for one in answered)


def slow_answer_survives(port: int, pid: int) -> bool:
    """Return whether a request that runs at SIGTERM is answered."""
    with socket.create_connection((LOOPBACK, port), timeout=20) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        time.sleep(0.5)
        os.kill(pid, 15)
        with suppress(OSError):
            return b"slow" in b"".join(iter(lambda: connection.recv(65536), b""))
    return False
