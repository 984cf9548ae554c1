"""Several processes of one main: start them, restart one that died, and shut them down together."""

import threading
from collections.abc import Callable
from typing import Any

import cotyledon

from snapmanage.cmd.process import running

# Time for a process to exit after it has drained.
ENDING_SECONDS = 15


class _Worker(cotyledon.Service):
    """One process, which runs `live`; `stop` ends it, since `live` waits in `running.until_stopped`."""

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
    """Run `live` in `count` processes until SIGTERM; each opens connections of its own."""
    manager = cotyledon.ServiceManager(graceful_shutdown_timeout=int(drain_seconds) + ENDING_SECONDS)
    manager.add(_Worker, workers=count, args=(live,))
    manager.run()
