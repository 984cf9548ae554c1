"""Calling a driver from several threads at once, and how long its calls take."""

import queue
import threading
import time
from collections.abc import Callable

from snapmanage.manage.operations import Claimed

# Weight of the newest call in the mean.
NEWEST = 0.1


class Calls:
    """Threads that hand what was submitted to `call`, one after the other; they start with the first.

    A future each, as executors have, would cost more than a fast driver's call.
    """

    def __init__(self, name: str, threads: int, call: Callable[[Claimed], None]) -> None:
        self._call = call
        self._waiting: queue.SimpleQueue[Claimed | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name} {number}", daemon=True) for number in range(threads)
        ]
        self._started = False
        self._mean = 1.0  # seconds; slow, until it shows otherwise

    def submit(self, claimed: Claimed) -> None:
        self._waiting.put(claimed)
        if not self._started:
            self._started = True
            for thread in self._threads:
                thread.start()

    def within(self, seconds: float) -> int:
        """How many calls the driver gets through in that time, going by the latest."""
        return int(len(self._threads) * seconds / max(self._mean, 1e-6))

    def stop(self) -> None:
        """Begin no further call."""
        while not self._waiting.empty():
            self._waiting.get()
        for _ in self._threads:
            self._waiting.put(None)

    def _run(self) -> None:
        while (claimed := self._waiting.get()) is not None:
            started = time.monotonic()
            self._call(claimed)
            self._mean += NEWEST * (time.monotonic() - started - self._mean)
