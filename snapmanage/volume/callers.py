"""Threads that answer the calls to one server; a hung backend holds only these threads, and few waiting calls."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from snapmanage import errors

# Calls to one server that are answered at the same time.
THREADS = 4
# Calls to one server that are being answered or wait. A caller of the API waits for `call_timeout_seconds` only.
MOST_CALLS = 16


class Callers:
    """A pool of threads that refuses a call while `MOST_CALLS` others are not answered."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._pool = ThreadPoolExecutor(THREADS, f"caller {server}")
        self._room = threading.BoundedSemaphore(MOST_CALLS)

    def submit(self, answer: Callable[[], object]) -> None:
        """Run a function in one of the threads; raise `Unavailable` if too many calls wait."""
        if not self._room.acquire(blocking=False):
            raise errors.Unavailable(
                f"the limit of calls that wait for {self._server} is reached ({MOST_CALLS}); its backend may be slow "
                "or hang, so try again later"
            )
        try:
            self._pool.submit(answer).add_done_callback(self._release)
        except BaseException:
            self._room.release()
            raise

    def shutdown(self) -> None:
        """Start no further call; calls that wait get no answer."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _release(self, answered: Future[Any]) -> None:
        self._room.release()
