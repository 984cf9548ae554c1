"""Several processes of one main: start them, restart one that died, and shut them down together."""

import atexit
import threading
from collections.abc import Callable
from typing import Any

import cotyledon

from snapmanage.cmd.process import running

# Time for a process to exit after it has drained.
EXIT_SECONDS = 15


class _Worker(cotyledon.Service):
    """One process, which runs `serve`; `stop` ends it, since `serve` waits in `running.until_stopped`."""

    name = "worker"

    def __init__(self, worker_id: Any, serve: Callable[[], None]) -> None:
        super().__init__(worker_id)
        self._serve = serve
        self._ended = threading.Event()

    def run(self) -> None:
        try:
            self._serve()
            atexit._run_exitfuncs()  # noqa: SLF001 - the library ends the process by os._exit
        finally:
            self._ended.set()

    def terminate(self) -> None:
        running.stop()
        self._ended.wait()


def supervise(count: int, serve: Callable[[], None], drain_seconds: float) -> None:
    """Run `serve` in `count` processes until SIGTERM; each opens connections of its own."""
    manager = cotyledon.ServiceManager(graceful_shutdown_timeout=int(drain_seconds) + EXIT_SECONDS)
    manager.add(_Worker, workers=count, args=(serve,))
    manager.run()
