"""Carry out requests in several threads, with few of them waiting at a time."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(threads: int, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield the results in the order of their ends.

    If the caller closes the iterator, or a function raises an error, no further item is started, and the started ones
    end first.
    """
    pending: set[Future[R]] = set()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            pending.add(pool.submit(function, item))
            if len(pending) >= threads:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in done)
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (each.result() for each in done)
