"""Find the item of a batch whose values the database refuses, and write its neighbours."""

from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from sqlalchemy.exc import StatementError

from snapmanage import errors
from snapmanage.store.engine import failures

# The errors by which the database, its driver or `store.records` refuses values.
REFUSALS = (errors.AlreadyManaged, StatementError, ValueError, OverflowError)
T = TypeVar("T")
R = TypeVar("R")


def write_in_parts(
    batch: Sequence[T],
    write: Callable[[Sequence[T]], R],
    refuse: Callable[[T, Exception], R],
    retry_helps: Callable[[Exception], bool] = failures.passes,
) -> list[R]:
    """Write a batch, or each item alone if the database refuses the batch; return the results.

    `refuse` gives the result of an item that is refused alone. An error that a retry of the whole batch may cure is
    raised. By default that includes a row which another process has just written (`failures.passes`).
    """
    try:
        return [write(batch)]
    except REFUSALS as error:
        if retry_helps(error):
            raise
        if len(batch) == 1:
            return [refuse(batch[0], error)]
    return [result for item in batch for result in write_in_parts([item], write, refuse, retry_helps)]


def raise_refusal(item: object, error: Exception) -> NoReturn:
    """Raise the error of an item that the database refuses, where no item may be left out."""
    raise error
