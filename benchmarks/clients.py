"""HTTP clients that need little processor time: a persistent connection, and prepared requests."""

import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import seed
from snapmanage.testing.services.process import LOOPBACK

VERSION = "volume 3.71"


class Client:
    """One connection to an API; `address` is its HOST:PORT."""

    def __init__(self, address: str) -> None:
        self._host = address
        self._connect()

    def close(self) -> None:
        self._socket.close()

    def get(self, path: str) -> Any:
        status, body = self.send(self.request("GET", path))
        assert status == 200, body
        return json.loads(body)

    def request(self, method: str, path: str, body: Any = None) -> bytes:
        """Return the bytes of a request; `path` follows the project."""
        content = b"" if body is None else json.dumps(body).encode()
        head = [
            f"{method} /v3/{seed.PROJECT}{path} HTTP/1.1",
            f"Host: {self._host}",
            f"OpenStack-API-Version: {VERSION}",
            "Content-Type: application/json",
            f"Content-Length: {len(content)}",
        ]
        return "\r\n".join([*head, "", ""]).encode() + content

    def send(self, request: bytes) -> tuple[int, bytes]:
        """Send a request, and return the status and the body of the answer."""
        self._socket.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._receive()
        head, _, body = received.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        parts, missing = [body], length - len(body)
        while missing > 0:
            parts.append(self._receive())
            missing -= len(parts[-1])
        if b"connection: close" in head.lower():
            self._connect()
        return int(head[9:12]), b"".join(parts)

    def _connect(self) -> None:
        self._socket = socket.create_connection((LOOPBACK, int(self._host.rpartition(":")[2])), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _receive(self) -> bytes:
        received = self._socket.recv(1 << 18)
        assert received, "the API closed the connection"
        return received


def manage(client: Client, volume_id: str, source: str) -> bytes:
    """Return the request to manage a snapshot."""
    body = {"snapshot": {"volume_id": volume_id, "ref": {"source-name": source}, "name": source}}
    return client.request("POST", "/os-snapshot-manage", body)


def manage_many(client: Client, volume_id: str, prefix: str, count: int) -> bytes:
    """Return the request of a batch, like one of the client program: with chosen ids, keys and metadata."""
    entries = [
        {
            "volume_id": volume_id,
            "ref": {"source-name": f"{prefix}-{number}"},
            "name": f"{prefix}-{number}",
            "metadata": {"adopted-by": f"plan:{prefix}", "origin": "sanoid", "origin-class": "daily"},
            "id": str(uuid.uuid4()),
            "idempotency_key": f"{prefix}/{number}",
        }
        for number in range(count)
    ]
    return client.request("POST", "/os-snapshot-manage/batch", {"snapshots": entries})


def post_together(address: str, count: int, each: int, volume_id: str, prefix: str = "") -> tuple[float, list[float]]:
    """Let `count` clients post `each` requests simultaneously; return the seconds of all, and of each request."""
    took: list[list[float]] = [[] for _ in range(count)]

    def post(number: int) -> None:
        client = Client(address)
        for index in range(each):
            request = manage(client, volume_id, prefix + seed.source_name(1 + number * each + index))
            took[number].append(measure(lambda: _check_accepted(client.send(request)))[0])  # noqa: B023 - called at once
        client.close()

    seconds, _ = measure(lambda: _run_all([threading.Thread(target=post, args=[number]) for number in range(count)]))
    assert sum(map(len, took)) == count * each, "a client failed"
    return seconds, [one for own in took for one in own]


def measure(do: Callable[[], Any]) -> tuple[float, Any]:
    """Call a function, and return the seconds and its result."""
    started = time.perf_counter()
    result = do()
    return time.perf_counter() - started, result


def _check_accepted(answer: tuple[int, bytes]) -> None:
    assert answer[0] == 202, answer


def _run_all(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
