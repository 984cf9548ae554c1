"""A check that may hang, with a limit to its time and to its threads."""

import threading
from collections.abc import Callable
from concurrent.futures import Future

from snapmanage.core.readiness import Check

SECONDS = 3.0


class BoundedCheck:
    """Calls `test` in a thread of its own; a call that still hangs is awaited again, and no second one is begun.

    `test` raises an error if it finds a problem.
    """

    def __init__(self, name: str, test: Callable[[], object], seconds: float = SECONDS) -> None:
        self._name = name
        self._test = test
        self._seconds = seconds
        self._lock = threading.Lock()
        self._running: Future[None] | None = None

    def begin(self) -> Callable[[], Check]:
        """Begin the check, and return a function that waits for its result."""
        with self._lock:
            if self._running is None or self._running.done():
                self._running = Future()
                threading.Thread(
                    target=self._run, args=[self._running], name=f"check {self._name}", daemon=True
                ).start()
            running = self._running
        return lambda: Check(self._name, self._problem(running))

    def _problem(self, running: "Future[None]") -> str | None:
        try:
            running.result(self._seconds)
        except TimeoutError:
            return f"no answer within {self._seconds:g} s"
        except Exception as error:  # noqa: BLE001 - a check of any kind fails by raising
            return str(error) or type(error).__name__
        return None

    def _run(self, running: "Future[None]") -> None:
        try:
            self._test()
        except Exception as error:  # noqa: BLE001 - the future carries it to the probe
            running.set_exception(error)
        else:
            running.set_result(None)


def all_of(bounded: list[BoundedCheck]) -> list[Check]:
    """Carry out checks at the same time, and return their results in order."""
    results = [each.begin() for each in bounded]
    return [result() for result in results]
