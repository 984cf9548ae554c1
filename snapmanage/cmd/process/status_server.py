"""A small HTTP server for operators: it answers GET with pages such as `/metrics` and `/livez`.

It has no authentication, and its pages need none: they have numbers and names of the configuration. It serves few
connections, each for a short time, so that it can't take the process's threads or memory. It runs in threads of its
own, so that it answers while every other thread of the process hangs.
"""

import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from snapmanage import errors
from snapmanage.core.values.listen import join_listen
from snapmanage.core.values.text import cut, printable

LOG = logging.getLogger(__name__)

PLAIN_TEXT = "text/plain; charset=utf-8"
# Connections that are served at once; others are closed.
MOST_CONNECTIONS = 8
# Time-out of a single read or write, and the longest life of a connection.
SOCKET_SECONDS = 5.0
CONNECTION_SECONDS = 15.0
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Answer:
    """The answer to a request; `status` is the code of HTTP."""

    status: int
    content_type: str
    body: bytes

    @classmethod
    def text(cls, status: int, text: str) -> "Answer":
        """Return an answer with one line of plain text."""
        return cls(status, PLAIN_TEXT, f"{text}\n".encode())


# A function for each path, such as `/metrics`; it runs in a thread of the server for each request.
Pages = Mapping[str, Callable[[], Answer]]


class StatusServer:
    """A server of pages, which binds its port at once, so that a taken port fails before anything else starts."""

    def __init__(self, host: str, port: int, pages: Pages, connection_seconds: float = CONNECTION_SECONDS) -> None:
        try:
            self._server = _Server(host, port, pages, connection_seconds)
        except OSError as error:
            raise errors.ConfigurationError(f"can't listen on {join_listen(host, port)}: {error}") from error
        self.address = join_listen(*self._server.socket.getsockname()[:2])
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=[_POLL_SECONDS], name="status", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Close the port; safe to repeat, and without a start."""
        if self._thread:
            _end(self._server.socket)  # it wakes the thread
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()

    def close_copy(self) -> None:
        """Close the port in a forked process only; the process that made the server keeps it."""
        self._server.server_close()

    def __enter__(self) -> "StatusServer":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def bind(wanted: Iterable[tuple[tuple[str, int], Pages]]) -> list[StatusServer]:
    """Return a server for each address, which is a host and a port; the pages of equal addresses share a server."""
    merged: dict[tuple[str, int], dict[str, Callable[[], Answer]]] = {}
    for address, pages in wanted:
        merged.setdefault(address, {}).update(pages)
    servers: list[StatusServer] = []
    try:
        for (host, port), pages in merged.items():
            servers.append(StatusServer(host, port, pages))
    except errors.ConfigurationError:
        for server in servers:
            server.stop()
        raise
    return servers


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serve a few connections, each in a thread, and end the ones that are too old."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(self, host: str, port: int, pages: Pages, connection_seconds: float) -> None:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family = family
        self.pages = pages
        self._connection_seconds = connection_seconds
        self._since: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        super().__init__((str(address[0]), int(address[1])), _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return whether the server has room for one more connection, and count it."""
        with self._lock:
            accepted = len(self._since) < MOST_CONNECTIONS
            if accepted:
                self._since[request] = time.monotonic()
        return accepted

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._since.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End the connections that are too old; the server calls this in each turn of its loop."""
        oldest = time.monotonic() - self._connection_seconds
        with self._lock:  # a connection that another thread closes meanwhile could have lost its number to a new one
            for request, since in self._since.items():
                if since < oldest:
                    _end(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        LOG.debug("A connection to the status server failed", exc_info=True)


def _end(connection: socket.socket) -> None:
    """Wake the thread that waits for the connection; the thread closes it."""
    with suppress(OSError):  # it has ended
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """Answer one request and close the connection; a body is not read."""

    timeout = SOCKET_SECONDS
    server: _Server

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path.partition("?")[0])
        self._answer(_ask(self.path, page) if page else Answer.text(HTTPStatus.NOT_FOUND, self._known()))

    do_HEAD = do_GET

    def _known(self) -> str:
        return f"no such page; the pages are {', '.join(sorted(self.server.pages))}"

    def _answer(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that the library refuses in plain text: a method without a function, or bad syntax."""
        self.close_connection = True
        self.request_version = self.protocol_version  # an unreadable request counts as one without headers
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._answer(Answer.text(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD are allowed"))
        else:
            self._answer(Answer.text(code, HTTPStatus(code).phrase))

    def version_string(self) -> str:
        return "snapmanage"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log no request: probes and scrapers come every few seconds."""


def _ask(path: str, page: Callable[[], Answer]) -> Answer:
    try:
        return page()
    except Exception:
        LOG.exception("The page %s failed; its request is answered with 500", cut(printable(path)))
        return Answer.text(HTTPStatus.INTERNAL_SERVER_ERROR, "the page failed; the log of the process has the reason")
