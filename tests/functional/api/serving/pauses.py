"""A pause of the thread that accepts, reads and writes the connections of a server."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.functional.api.serving.raw import connected

LOG = logging.getLogger("snapmanage.access")


class Pause(logging.Handler):
    """A handler of the access log that holds the thread that logs."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.ended = threading.Event(), threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.begun.set()
        self.ended.wait(20)


@contextmanager
def paused(address: str) -> Iterator[threading.Event]:
    """Pause the thread at a malformed request, which it logs itself; give the event that ends the pause."""
    pause, level = Pause(), LOG.level
    LOG.setLevel(logging.INFO)
    LOG.addHandler(pause)
    try:
        with connected(address) as malformed:
            malformed.sendall(b"garbage\r\n\r\n")
            assert pause.begun.wait(20)
            yield pause.ended
    finally:
        pause.ended.set()
        LOG.removeHandler(pause)
        LOG.setLevel(level)
