"""A time limit for calls into libraries that have none."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from snapmanage import errors

__all__ = ["within"]

T = TypeVar("T")


def within(seconds: float, action: str, call: Callable[[], T]) -> T:
    """Return the result of `call`, or raise its exception; raise `BackendUnavailable` after `seconds`.

    An overdue call can't be ended, so it must be harmless. It continues in a thread of its own, which doesn't keep the
    process from ending.
    """
    result: Future[T] = Future()
    threading.Thread(target=_complete, args=(result, call), name=action, daemon=True).start()
    try:
        return result.result(seconds)
    except TimeoutError:
        if result.done():
            raise
        raise errors.BackendUnavailable(f"{action} took longer than {seconds:g} s and was abandoned") from None


def _complete(result: Future[T], call: Callable[[], T]) -> None:
    try:
        result.set_result(call())
    except BaseException as failure:  # noqa: BLE001 - `within` raises it
        result.set_exception(failure)
