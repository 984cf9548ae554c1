"""A time limit for calls into libraries that have none."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from snapmanage import errors
from snapmanage.drivers.progress import Progress, current_progress, reported

__all__ = ["BoundedCalls", "within"]

T = TypeVar("T")


# Abandoned calls to one backend that may hang at the same time; each keeps its thread.
MOST_HUNG = 16


def within(seconds: float, action: str, call: Callable[[], T]) -> T:
    """Return the result of `call`, or raise its exception; raise `BackendUnavailable` after `seconds`.

    An overdue call can't be ended, so it must be harmless. It continues in a thread of its own, which doesn't keep the
    process from ending.
    """
    return _result(_begin(action, call), seconds, action, Progress())


class BoundedCalls:
    """Calls like `within` to one backend, of which only `most_hung` may hang after they were abandoned."""

    def __init__(self, most_hung: int = MOST_HUNG) -> None:
        self._most_hung = most_hung
        self._hung: list[Future[Any]] = []
        self._lock = threading.Lock()

    def within(self, seconds: float, action: str, call: Callable[[], T]) -> T:
        """Like the function `within`; raise `BackendUnavailable` at once while too many earlier calls hang."""
        return self._within(seconds, action, call, Progress())

    def within_each(self, seconds: float, action: str, call: Callable[[], T]) -> T:
        """Like `within` for the call of a batch, of which each entry may take `seconds`.

        `working_on` starts the time again; it counts for the batch of this thread, although `call` runs in another.
        """
        progress = Progress(current_progress())

        def with_progress() -> T:
            with reported(progress):
                return call()

        return self._within(seconds, action, with_progress, progress)

    def _within(self, seconds: float, action: str, call: Callable[[], T], progress: Progress) -> T:
        with self._lock:
            self._hung = [each for each in self._hung if not each.done()]
            if len(self._hung) >= self._most_hung:
                raise errors.BackendUnavailable(
                    f"{action} was not tried, since {len(self._hung)} earlier calls still hang; repair the backend"
                )
        begun = _begin(action, call)
        try:
            return _result(begun, seconds, action, progress)
        finally:
            if not begun.done():
                with self._lock:
                    self._hung.append(begun)


def _begin(action: str, call: Callable[[], T]) -> Future[T]:
    result: Future[T] = Future()
    threading.Thread(target=_complete, args=(result, call), name=action, daemon=True).start()
    return result


def _result(result: Future[T], seconds: float, action: str, progress: Progress) -> T:
    """Wait for the result until `seconds` have passed since the call began, and since its last progress."""
    began = time.monotonic()
    while (left := max(began, progress.moved_at) + seconds - time.monotonic()) > 0:
        try:
            return result.result(left)
        except TimeoutError:
            if result.done():
                raise
    raise errors.BackendUnavailable(f"{action} took longer than {seconds:g} s and was abandoned")


def _complete(result: Future[T], call: Callable[[], T]) -> None:
    try:
        result.set_result(call())
    except BaseException as failure:  # noqa: BLE001 - `within` raises it
        result.set_exception(failure)
