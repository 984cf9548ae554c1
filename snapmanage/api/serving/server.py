"""The HTTP server of the API, with a pool of threads."""

import ipaddress
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cheroot import wsgi

from snapmanage import errors
from snapmanage.api.serving.connections import LARGEST_HEAD, Connection

# A body this many times larger than the limit is refused without the application, which would read it first.
UNREAD_FROM = 10
MOST_IDLE = 10_000
SHUTDOWN_SECONDS = 10


def parse_listen(text: str) -> tuple[str, int]:
    """Parse HOST:PORT or [IPV6]:PORT; raise `ConfigurationError` for other text."""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise errors.ConfigurationError(f"listen must be HOST:PORT, such as 127.0.0.1:8776, not {text!r}")
    return host.strip("[]"), int(port)


def require_loopback(host: str, service: str) -> None:
    """Raise `ConfigurationError` for an address that other machines can reach."""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise errors.ConfigurationError(
            f"{service} has no authentication, so listen must be a loopback address, not {host}"
        )


@contextmanager
def shared_port(host: str, port: int) -> Iterator[int]:
    """Reserve a port that several processes share, across their restarts; raise `ConfigurationError` if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as alone, socket.socket(family) as held:
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            alone.bind((host, port))
            found = int(alone.getsockname()[1])
            alone.close()  # it only checked that the port was free
            held.bind((host, found))
        except OSError as error:
            raise errors.ConfigurationError(f"can't listen on {host}:{port}: {error}") from error
        yield found


class HttpServer:
    """An HTTP server that binds its port at once, so that a taken port fails before anything else starts.

    As a context manager it stops at the end. With `shared`, several processes listen on the port, and the kernel
    distributes connections among them.
    """

    def __init__(self, host: str, port: int, threads: int, shared: bool = False) -> None:
        self._server = wsgi.Server((host, port), _not_started, numthreads=threads, server_name="snapmanage")
        self._server.shutdown_timeout = SHUTDOWN_SECONDS
        self._server.reuse_port = shared
        self._server.keep_alive_conn_limit = MOST_IDLE  # with the default, ten, others reconnect each time
        self._server.ConnectionClass = Connection
        self._server.max_request_header_size = LARGEST_HEAD
        try:
            self._server.prepare()
        except OSError as error:
            raise errors.ConfigurationError(f"can't listen on {host}:{port}: {error}") from error
        self._thread = threading.Thread(target=self._server.serve, name="http", daemon=True)

    @property
    def address(self) -> str:
        """Return HOST:PORT as bound; port 0 was replaced by a free port."""
        host, port = self._server.bind_addr[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"

    def start(self, application: Any, largest_body: int) -> None:
        """Serve a WSGI application that itself refuses bodies larger than `largest_body` bytes."""
        self._server.wsgi_app = application
        self._server.max_request_body_size = UNREAD_FROM * largest_body
        self._thread.start()

    def stop(self) -> None:
        """Finish the current requests and stop; safe to repeat."""
        self._server.stop()

    def __enter__(self) -> "HttpServer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def _not_started(environ: object, start_response: object) -> list[bytes]:
    raise AssertionError("the server takes no connection before start")
