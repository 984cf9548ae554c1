"""Call a driver from several threads, measure the calls, and abandon those that hang."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from snapmanage.core.values.logfields import fields
from snapmanage.manage.claims import Claimed
from snapmanage.manage.settling import Outcome, Resolution

LOG = logging.getLogger(__name__)

# Weight of the newest call in the mean duration.
NEWEST_WEIGHT = 0.1
# Seconds that a step is assumed to take until a call has been measured.
ASSUMED_SECONDS = 1.0
# The pool replaces hung threads until this many times its size hang.
HUNG_POOLS = 4

Step = Resolution | Outcome


class DriverPool:
    """Threads that run `call` on each submitted operation and pass the result to `answer`.

    The threads start with the first operation. There is no future for each operation, since that costs more than a
    fast driver's call. A hung call can't be ended: the pool abandons its thread and starts another one.
    """

    def __init__(
        self, name: str, threads: int, call: Callable[[Claimed], Step], answer: Callable[[Step], None]
    ) -> None:
        self._name = name
        self._call = call
        self._answer = answer
        self._size = threads
        self._queue: queue.SimpleQueue[Claimed | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._working = 0
        self._hung: set[threading.Thread] = set()
        self._running: dict[threading.Thread, tuple[Claimed, float]] = {}
        # Mean seconds of each step of an operation; an operation may consist of the last step alone.
        self._means: dict[type[Step], float] = {Outcome: ASSUMED_SECONDS}

    def submit(self, claimed: Claimed) -> None:
        self._queue.put(claimed)
        if not self._working and not self._hung:
            with self._lock:
                self._start_missing_threads()

    def capacity(self, seconds: float) -> int:
        """Return how many operations the driver finishes in that time, by the mean duration of its calls."""
        return int(self._size * seconds / max(sum(list(self._means.values())), 1e-6))

    def abandon(self, seconds: float) -> list[Claimed]:
        """Abandon the calls that have run longer than `seconds`, and return their operations.

        If every thread hangs, return the queued operations too.
        """
        started_before = time.monotonic() - seconds
        with self._lock:
            hung = {thread: claimed for thread, (claimed, started) in self._running.items() if started < started_before}
            for thread in hung:
                del self._running[thread]
            self._hung.update(hung)
            self._working -= len(hung)
            if hung or not self._queue.empty():
                self._start_missing_threads()
            all_hang = self._hung and not self._working
        return [*hung.values(), *self._withdraw()] if all_hang else list(hung.values())

    def stop(self) -> None:
        """Start no further call."""
        self._withdraw()
        for _ in range(self._size + len(self._hung)):
            self._queue.put(None)

    def _start_missing_threads(self) -> None:
        """Start threads until the pool is full; if the system refuses one, `abandon` tries again."""
        while self._working < self._size and len(self._hung) < HUNG_POOLS * self._size:
            name = f"{self._name} {self._working + 1}"
            try:
                threading.Thread(target=self._run, name=name, daemon=True).start()
            except RuntimeError as error:
                LOG.warning("Can't start a thread for the driver yet; retrying: %s", fields(pool=name, reason=error))
                return
            self._working += 1

    def _withdraw(self) -> list[Claimed]:
        """Remove the operations from the queue and return them."""
        withdrawn = []
        with suppress(queue.Empty):
            while True:
                if claimed := self._queue.get_nowait():
                    withdrawn.append(claimed)
        return withdrawn

    def _run(self) -> None:
        """Call the driver until `stop`; after an abandoned call, continue only if the pool lacks a thread."""
        me = threading.current_thread()
        while (claimed := self._queue.get()) is not None:
            started = time.monotonic()
            with self._lock:
                self._running[me] = claimed, started
            result = self._call(claimed)
            with self._lock:
                if self._running.pop(me, None) is None:  # the call was abandoned
                    self._hung.remove(me)
                    if self._working == self._size:
                        return
                    self._working += 1
                    continue
            self._answer(result)
            mean = self._means.get(type(result), ASSUMED_SECONDS)
            self._means[type(result)] = mean + NEWEST_WEIGHT * (time.monotonic() - started - mean)
