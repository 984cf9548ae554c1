"""A limit in time for calls into libraries that know none."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from snapmanage import errors

__all__ = ["within"]

T = TypeVar("T")


def within(seconds: float, doing: str, call: Callable[[], T]) -> T:
    """What `call` returns or raises; `BackendUnavailable` when it is still at it after `seconds`.

    Nothing can end such a call. It is left to itself, in a thread that doesn't keep the process from
    ending, and what it still does must be harmless.
    """
    answered: Future[T] = Future()
    threading.Thread(target=_answer, args=(answered, call), name=doing, daemon=True).start()
    try:
        return answered.result(seconds)
    except TimeoutError:
        if answered.done():
            raise
        raise errors.BackendUnavailable(f"{doing} took longer than {seconds:g} s and was given up") from None


def _answer(answered: Future[T], call: Callable[[], T]) -> None:
    try:
        answered.set_result(call())
    except BaseException as failure:  # noqa: BLE001 - the caller gets it
        answered.set_exception(failure)
