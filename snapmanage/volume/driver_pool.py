"""Calling a driver from several threads at once: how long that takes, and what becomes of a call that never returns."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from snapmanage.manage.claims import Claimed
from snapmanage.manage.settling import Outcome, Resolution

LOG = logging.getLogger(__name__)

# Weight of the newest call in the mean.
NEWEST = 0.1
# Seconds that a step is taken to need until it has shown otherwise.
SLOW = 1.0
# So many times the threads may hang; then no other takes a hanging one's place.
HANGING = 4


Step = Resolution | Outcome


class DriverPool:
    """Threads that `call` with what was submitted, one after the other, and hand what comes of it to `answer`.

    They start with the first. A future each, as executors have, would cost more than a fast driver's call.
    Nothing can end a call that hangs: it is left to itself, and another thread takes its place.
    """

    def __init__(
        self, name: str, threads: int, call: Callable[[Claimed], Step], answer: Callable[[Step], None]
    ) -> None:
        self._name = name
        self._call = call
        self._answer = answer
        self._wanted = threads
        self._waiting: queue.SimpleQueue[Claimed | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._working = 0
        self._hanging: set[threading.Thread] = set()
        self._running: dict[threading.Thread, tuple[Claimed, float]] = {}
        # Mean seconds of each step of an operation; all but the last step may be missing.
        self._means: dict[type[Step], float] = {Outcome: SLOW}

    def submit(self, claimed: Claimed) -> None:
        self._waiting.put(claimed)
        if not self._working and not self._hanging:
            with self._lock:
                self._fill_up()

    def within(self, seconds: float) -> int:
        """How many operations the driver gets through in that time, going by the latest."""
        return int(self._wanted * seconds / max(sum(list(self._means.values())), 1e-6))

    def given_up(self, seconds: float) -> list[Claimed]:
        """What has taken longer than that, which gets no answer any more; and what waits, where every thread hangs."""
        with self._lock:
            late = self._leave(time.monotonic() - seconds)
            if late or not self._waiting.empty():
                self._fill_up()
            stuck = self._hanging and not self._working
        return [*late, *self._withdraw()] if stuck else late

    def stop(self) -> None:
        """Begin no further call."""
        self._withdraw()
        for _ in range(self._wanted + len(self._hanging)):
            self._waiting.put(None)

    def _leave(self, begun_before: float) -> list[Claimed]:
        late = {thread: claimed for thread, (claimed, begun) in self._running.items() if begun < begun_before}
        for thread in late:
            del self._running[thread]
        self._hanging.update(late)
        self._working -= len(late)
        return list(late.values())

    def _fill_up(self) -> None:
        """Start the threads that are missing; where the system has none to give now, the next look tries again."""
        while self._working < self._wanted and len(self._hanging) < HANGING * self._wanted:
            name = f"{self._name} {self._working + 1}"
            try:
                threading.Thread(target=self._run, name=name, daemon=True).start()
            except RuntimeError as error:
                LOG.warning("%s waits for a thread: %s", self._name, error)
                return
            self._working += 1

    def _withdraw(self) -> list[Claimed]:
        withdrawn = []
        with suppress(queue.Empty):
            while True:
                if claimed := self._waiting.get_nowait():
                    withdrawn.append(claimed)
        return withdrawn

    def _run(self) -> None:
        me = threading.current_thread()
        while (claimed := self._waiting.get()) is not None:
            started = time.monotonic()
            with self._lock:
                self._running[me] = claimed, started
            came = self._call(claimed)
            if self._is_wanted(me):
                self._answer(came)
                mean = self._means.get(type(came), SLOW)
                self._means[type(came)] = mean + NEWEST * (time.monotonic() - started - mean)
            elif not self._goes_on(me):
                return

    def _is_wanted(self, thread: threading.Thread) -> bool:
        """Whether the call that the thread comes from wasn't given up."""
        with self._lock:
            return self._running.pop(thread, None) is not None

    def _goes_on(self, thread: threading.Thread) -> bool:
        """Whether a thread whose call was given up is needed; another may have taken its place."""
        with self._lock:
            self._hanging.remove(thread)
            needed = self._working < self._wanted
            self._working += needed
            return needed
