"""A small upstream API with the rules of Cinder's, which can also give odd answers."""

import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FIRST_OUTCOMES = {"creating": ("creating", "available", "error"), "deleting": ("deleting", "error_deleting")}


@dataclass(frozen=True)
class Odd:
    """An odd answer: its status, headers and bytes; each byte follows `pause_seconds` after the one before."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    pause_seconds: float = 0.0
    taken: bool = False


@dataclass
class SmallUpstream:
    """The statuses of the snapshots, the requests received, and the odd answers to the next requests."""

    statuses: dict[str, str] = field(default_factory=dict)
    odd: list[Odd] = field(default_factory=list)
    requests: list[tuple[str, str, Any, dict[str, str]]] = field(default_factory=list)
    port: int = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/v3"

    @property
    def actions(self) -> list[tuple[str, Any]]:
        """Return the ids and the bodies of the actions."""
        return [(path.split("/")[4], body) for method, path, body, _ in self.requests if method == "POST"]

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Return the answer of Cinder."""
        snapshot_id = path.split("/")[4]
        if snapshot_id not in self.statuses:
            return 404, {"itemNotFound": {"code": 404, "message": f"Snapshot {snapshot_id} could not be found."}}
        current = self.statuses[snapshot_id]
        if method == "GET":
            return 200, {"snapshot": {"id": snapshot_id, "status": current}}
        [(action, arguments)] = body.items()
        if action == "os-update_snapshot_status" and arguments["status"] not in FIRST_OUTCOMES.get(current, ()):
            text = f"Snapshot status {current} not allowed for update_snapshot_status"
            return 400, {"badRequest": {"code": 400, "message": text}}
        self.statuses[snapshot_id] = arguments["status"]
        return 202, None


class _Handler(BaseHTTPRequestHandler):
    upstream: SmallUpstream

    def do_GET(self) -> None:
        self._handle(None)

    def do_POST(self) -> None:
        self._handle(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _handle(self, body: Any) -> None:
        self.upstream.requests.append((self.command, self.path, body, dict(self.headers)))
        odd = self.upstream.odd.pop(0) if self.upstream.odd else None
        if odd is None or odd.taken:
            status, content = self.upstream.answer(self.command, self.path, body)
            odd = odd or Odd(status, b"" if content is None else json.dumps(content).encode())
        self.send_response(odd.status)
        for name, value in odd.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(odd.body)))
        self.end_headers()
        try:
            self._send(odd)
        except OSError:
            self.close_connection = True  # the client has given up

    def _send(self, odd: Odd) -> None:
        if not odd.pause_seconds:
            self.wfile.write(odd.body)
            return
        for byte in odd.body:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(odd.pause_seconds)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print nothing."""


@contextmanager
def small_upstream(tls: ssl.SSLContext | None = None) -> Iterator[SmallUpstream]:
    """Run a small upstream on a port of the loopback, with the context `tls` by HTTPS."""
    made = SmallUpstream()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"upstream": made}))
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    made.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
