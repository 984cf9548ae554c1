"""The servers that are compared, each with 16 threads: python -m benchmarks.front.servers NAME PORT PROCESSES."""

import importlib
import signal
import sys
import threading
from typing import Any

from benchmarks.front import application
from snapmanage.testing.services.process import LOOPBACK

THREADS = 16
LARGEST_BODY = 114688


def snapmanage(port: int) -> None:
    from snapmanage.api.serving.server import HttpServer

    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    with HttpServer(LOOPBACK, port, THREADS) as server:
        server.start(application.make(), LARGEST_BODY)
        stopped.wait()


def waitress(port: int) -> None:
    library = _library("waitress")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    library.serve(
        application.make(),
        host=LOOPBACK,
        port=port,
        threads=THREADS,
        connection_limit=10_000,
        asyncore_use_poll=True,
        max_request_body_size=LARGEST_BODY,
    )


def granian(port: int) -> None:
    library = _library("granian")
    library.Granian(
        "benchmarks.front.application:make",
        address=LOOPBACK,
        port=port,
        interface="wsgi",
        http="1",
        blocking_threads=THREADS,
        factory=True,
        log_level="error",
    ).serve()


def cheroot(port: int) -> None:
    library = _library("cheroot.wsgi")
    server = library.Server((LOOPBACK, port), application.make(), numthreads=THREADS)
    server.keep_alive_conn_limit = 10_000
    server.max_request_body_size = LARGEST_BODY
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.stop).start())
    server.start()


NAMES = {"snapmanage": snapmanage, "waitress": waitress, "granian": granian, "cheroot": cheroot}


def _library(name: str) -> Any:
    """Import a library that snapmanage itself may not need."""
    return importlib.import_module(name)


if __name__ == "__main__":
    NAMES[sys.argv[1]](int(sys.argv[2]))
