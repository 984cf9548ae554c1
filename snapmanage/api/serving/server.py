"""The HTTP server of the API, with a pool of threads."""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from waitress.adjustments import Adjustments

from snapmanage import errors
from snapmanage.api.serving.acceptor import Acceptor
from snapmanage.api.serving.channels import DEADLINES, Deadlines
from snapmanage.api.serving.parser import NO_LARGE_BODIES, LargeBodies
from snapmanage.api.serving.threads import Threads
from snapmanage.core.values.listen import join_listen
from snapmanage.pulse import Pulse

LOG = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 10
# Connections that wait to be accepted; the kernel resets others.
BACKLOG = 1024
# No temporary files: they need file descriptors. `Acceptor` limits the memory instead.
IN_MEMORY = 1 << 40
ADJUSTMENTS = {
    "ident": "snapmanage",
    "recv_bytes": 65536,
    "inbuf_overflow": IN_MEMORY,
    "outbuf_overflow": IN_MEMORY,
    "log_socket_errors": False,
    # oslo.middleware and the authentication decide about the headers of proxies.
    "clear_untrusted_proxy_headers": False,
}


@contextmanager
def shared_port(host: str, port: int) -> Iterator[int]:
    """Reserve a port that several processes share, across their restarts; raise `ConfigurationError` if it is taken."""
    with ExitStack() as stack:
        try:
            family = _family(host, port)
            alone, held = (stack.enter_context(socket.socket(family)) for _ in range(2))
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
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
    distributes connections among them. One thread reads and writes all connections; the others handle complete
    requests.
    """

    def __init__(
        self, host: str, port: int, threads: int, shared: bool = False, deadlines: Deadlines = DEADLINES
    ) -> None:
        self._host = host
        self._threads = threads
        self._deadlines = deadlines
        self._stop_request = threading.Event()
        self._dispatcher = Threads()
        self._pulse = Pulse("http")
        self._thread: threading.Thread | None = None
        self._acceptor: Acceptor | None = None
        try:
            self._socket = _listen(host, port, shared)
        except OSError as error:
            raise errors.ConfigurationError(f"can't listen on {host}:{port}: {error}") from error
        self.address = join_listen(*self._socket.getsockname()[:2])

    def pulses(self) -> list[Pulse]:
        """Return the pulses of the thread of the connections, and of the queue of requests."""
        return [self._pulse, self._dispatcher.pulse]

    def start(self, application: Any, largest_body: int, large_bodies: LargeBodies = NO_LARGE_BODIES) -> None:
        """Serve a WSGI application; requests with a body larger than `largest_body` bytes are refused.

        The paths of `large_bodies` have a limit of their own.
        """
        # Otherwise each request that waits and each client that leaves is a line, which an attack could repeat.
        logging.getLogger("waitress").setLevel(logging.ERROR)
        self._dispatcher.set_thread_count(self._threads)
        adjustments = Adjustments(sockets=[self._socket], **ADJUSTMENTS, server_name=self._host)
        adjustments.max_request_body_size = max(largest_body, large_bodies.largest) + 1  # the first that is refused
        adjustments.largest_body, adjustments.large_bodies = largest_body, large_bodies
        self._acceptor = Acceptor(
            application, self._deadlines, _sock=self._socket, dispatcher=self._dispatcher, adj=adjustments
        )
        serve = self._pulse.watched(partial(self._serve, self._acceptor))
        self._thread = threading.Thread(target=serve, name="http", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the current requests and stop; safe to repeat."""
        self._stop_request.set()
        if self._thread and self._acceptor:
            self._acceptor.pull_trigger()
            self._thread.join()
        self._socket.close()

    def _serve(self, acceptor: Acceptor) -> None:
        while not self._stop_request.is_set():
            try:
                with self._pulse:
                    acceptor.handle_events()
            except Exception:
                LOG.exception("The HTTP server failed unexpectedly; it continues with its other connections")
        acceptor.drain(SHUTDOWN_SECONDS)

    def __enter__(self) -> "HttpServer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def _listen(host: str, port: int, shared: bool) -> socket.socket:
    return socket.create_server(
        (host, port), family=_family(host, port), backlog=BACKLOG, reuse_port=shared, dualstack_ipv6=host == "::"
    )


def _family(host: str, port: int) -> socket.AddressFamily:
    """Return the family of the first address of a name; raise OSError for an unknown name."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
