"""Ask the broker for an answer over a connection that is kept, since the broker logs each new one."""

import threading
from collections.abc import Callable

import kombu

from snapmanage import errors
from snapmanage.bus.rabbit.connecting import BROKEN


class Ping:
    """A connection that is opened with the first ping, and again after a failure."""

    def __init__(self, connect: Callable[[int], kombu.Connection]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._connection: kombu.Connection | None = None

    def __call__(self) -> None:
        """Return once the broker has answered; raise `Unavailable` if it can't be reached."""
        with self._lock:
            try:
                self._ask()
            except BROKEN:
                self._drop()  # the broker may have closed an idle connection
                self._ask_anew()

    def close(self) -> None:
        """Close the connection, unless a ping hangs."""
        if self._lock.acquire(blocking=False):
            self._drop()
            self._lock.release()

    def _ask_anew(self) -> None:
        try:
            self._ask()
        except BROKEN as error:
            self._drop()
            raise errors.Unavailable(f"the broker can't be reached: {error}") from error

    def _ask(self) -> None:
        if self._connection is None:
            self._connection = self._connect(0)
        self._connection.channel().close()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.collect()
            self._connection = None
