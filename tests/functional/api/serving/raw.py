"""Requests and answers as bytes, on connections that a test holds."""

import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import pytest

CLOSE = "Connection: close"
HEALTH = f"GET /healthcheck HTTP/1.1\r\nHost: x\r\n{CLOSE}\r\n\r\n".encode()


@dataclass(frozen=True)
class RawAnswer:
    """An answer as it was received; `rest` has the bytes after it on the connection."""

    status: int
    headers: dict[str, str]
    body: bytes
    rest: bytes

    @classmethod
    def of(cls, received: bytes) -> "RawAnswer":
        head, _, after = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers["content-length"])
        return cls(int(first.split(" ")[1]), headers, after[:length], after[length:])


@contextmanager
def connected(address: str) -> Iterator[socket.socket]:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        yield connection


def rest_of(connection: socket.socket) -> bytes:
    """Return all bytes received until the server closes the connection."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def sent(address: str, data: bytes) -> bytes:
    """Send bytes on a new connection; return all bytes received until the server closes it."""
    with connected(address) as connection:
        connection.sendall(data)
        return rest_of(connection)


def request(line: str, *headers: str, host: str | None = "Host: localhost", body: str = "") -> bytes:
    """Return the bytes of a request; each character is one byte."""
    head = [line if " HTTP/" in line else f"{line} HTTP/1.1", *([host] if host else []), *headers, CLOSE]
    return "\r\n".join([*head, "", body]).encode("latin-1")


def is_closed(connection: socket.socket) -> bool:
    """Return whether the server has closed a connection on which it sends nothing."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@contextmanager
def held(address: str, count: int, data: bytes = b"") -> Iterator[list[socket.socket]]:
    """Hold connections that sent `data`."""
    allow_files(count)
    with ExitStack() as stack:
        connections = [stack.enter_context(connected(address)) for _ in range(count)]
        for connection in connections:
            with suppress(ConnectionError):  # the server may have closed it
                connection.sendall(data)
        yield connections


def health_seconds(address: str, checks: int = 11) -> list[float]:
    """Return the seconds of health checks, sorted; each has a connection of its own, and must be answered with 200."""
    return sorted(_seconds(lambda: check_health(address)) for _ in range(checks))


def check_health(address: str) -> None:
    assert RawAnswer.of(sent(address, HEALTH)).status == 200


def allow_files(count: int) -> None:
    """Let this process open so many more files than usual; skip the test where this is not allowed."""
    needed = len(os.listdir("/proc/self/fd")) + count + 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed:
        return
    if hard < needed:
        pytest.skip(f"needs {needed} open files, and the limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _seconds(do: Callable[[], None]) -> float:
    started = time.monotonic()
    do()
    return time.monotonic() - started
