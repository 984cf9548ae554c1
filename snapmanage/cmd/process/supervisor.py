"""Several processes of one main: watched, started again when they die, and drained together."""

import threading
from collections.abc import Callable
from typing import Any

import cotyledon

from snapmanage.cmd.process import running

# How much longer than its work a process may take to end.
ENDING_SECONDS = 15


class _Worker(cotyledon.Service):
    """One process; what `live` does there ends with `running.until_stopped`."""

    name = "worker"

    def __init__(self, worker_id: Any, live: Callable[[], None]) -> None:
        super().__init__(worker_id)
        self._live = live
        self._over = threading.Event()

    def run(self) -> None:
        try:
            self._live()
        finally:
            self._over.set()

    def terminate(self) -> None:
        running.stop()
        self._over.wait()


def supervise(count: int, live: Callable[[], None], drain_seconds: float) -> None:
    """Have `count` processes live until SIGTERM; each makes its own connections, so that this one has none to share."""
    manager = cotyledon.ServiceManager(graceful_shutdown_timeout=int(drain_seconds) + ENDING_SECONDS)
    manager.add(_Worker, workers=count, args=(live,))
    manager.run()
