"""Drivers that take many operations at once: one look at the backend serves a whole batch.

The methods of `Driver` take one object. A driver may have four more, which take many. They pay where a look at the
backend costs more than the step itself: `lvs` reads a whole volume group, even for a single name. A driver without them
works as before; the functions of this module call its methods for one object in a loop.

Every method returns a list as long as its argument and in its order, of results or of errors: an error concerns that
entry alone. An error of snapmanage that is raised counts for every entry of the batch. After any other exception, or a
list of another length, the worker calls the method for each entry alone. The caller bounds the number of entries.

A method that works on one entry after the other calls `working_on` before each. An operator then sees the positions of
the operations in the batch, and `driver_timeout_seconds` limits each entry instead of the whole batch.
"""

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import ParamSpec, Protocol, TypeVar

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, BackendVolume, Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers.progress import current_progress, working_on
from snapmanage.drivers.protocol import Driver

__all__ = [
    "Asked",
    "BatchDriver",
    "NotTried",
    "raise_or_return",
    "try_each",
    "try_one",
    "try_until_unavailable",
    "working_on",
]

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E", bound=Hashable)


@dataclass(frozen=True)
class Asked:
    """The arguments of one `Driver.find_snapshot`."""

    reference: Reference
    volume: str | None = None


class NotTried(errors.BackendUnavailable):
    """The result of an entry that was not tried, since the backend was unavailable or locked for an earlier one.

    It costs the operation no attempt: the worker calls the driver again for it, unless no entry was tried.
    """


class BatchDriver(Driver, Protocol):
    """A driver that takes many at once; each method may be missing.

    A driver may also have `batch_calls: ClassVar[int]`, the number of batches of one kind that it takes at a time: 1
    where the backend does one thing at a time, such as a volume group under its lock. Without it, the operator's
    `driver_calls` counts.
    """

    def find_snapshots(self, asked: Sequence[Asked]) -> Sequence[BackendSnapshot | errors.SnapmanageError]:
        """Return the result of `find_snapshot` for each entry, or the error that it would raise."""

    def find_volumes(self, references: Sequence[Reference]) -> Sequence[BackendVolume | errors.SnapmanageError]:
        """Return the result of `find_volume` for each reference, or the error that it would raise."""

    def manage_snapshots(self, bindings: Sequence[Binding]) -> Sequence[BackendSnapshot | errors.SnapmanageError]:
        """Return the result of `manage_snapshot` for each binding, or the error that it would raise."""

    def unmanage_snapshots(self, bindings: Sequence[Binding]) -> Sequence[errors.SnapmanageError | None]:
        """Return None for each binding, or the error that `unmanage_snapshot` would raise."""


def calls_at_once(driver: Driver, limit: int) -> int:
    """Return how many batches of one kind the driver takes at a time: its `batch_calls`, at most `limit`."""
    return min(getattr(driver, "batch_calls", limit), limit)


def takes_many(driver: Driver) -> bool:
    """Return whether the driver takes many at once."""
    return any(hasattr(driver, name) for name in ("find_snapshots", "manage_snapshots", "unmanage_snapshots"))


def find_snapshots(driver: Driver, asked: Sequence[Asked]) -> list[BackendSnapshot | Exception]:
    return _each(driver, "find_snapshots", asked, lambda each: driver.find_snapshot(each.reference, each.volume))


def find_volumes(driver: Driver, references: Sequence[Reference]) -> list[BackendVolume | Exception]:
    return _each(driver, "find_volumes", references, driver.find_volume)


def manage_snapshots(driver: Driver, bindings: Sequence[Binding]) -> list[BackendSnapshot | Exception]:
    return _each(driver, "manage_snapshots", bindings, driver.manage_snapshot)


def unmanage_snapshots(driver: Driver, bindings: Sequence[Binding]) -> list[Exception | None]:
    return _each(driver, "unmanage_snapshots", bindings, driver.unmanage_snapshot)


def try_one(function: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T | errors.SnapmanageError:
    """Return the result of a call, or the error of snapmanage that it raises."""
    try:
        return function(*arguments, **more)
    except errors.SnapmanageError as error:
        return error


def try_each(one: Callable[[E], T], entries: Sequence[E]) -> list[T | errors.SnapmanageError]:
    """Return the result of `one` for each entry, or its error."""
    return [try_one(one, entry) for entry in entries]


def try_until_unavailable(one: Callable[[E], T], entries: Sequence[E]) -> list[T | errors.SnapmanageError]:
    """Like `try_each`; after an entry for which the backend was unavailable, the rest has `NotTried`."""
    results: list[T | errors.SnapmanageError] = []
    for entry in entries:
        last = results[-1] if results else None
        unavailable = isinstance(last, errors.BackendUnavailable)
        results.append(NotTried(str(last)) if unavailable else try_one(one, entry))
    return results


def raise_or_return(result: T | errors.SnapmanageError) -> T:
    """Return the result of one entry; raise it if it is an error."""
    if isinstance(result, errors.SnapmanageError):
        raise result
    return result


def _each(driver: Driver, many: str, entries: Sequence[E], one: Callable[[E], T]) -> list[T | Exception]:
    """Call the driver's method for many; call the one for a single entry in a loop if there is no such method."""
    if (method := getattr(driver, many, None)) is None:
        return _one_by_one(entries, one)
    results = list(method(entries))
    if len(results) != len(entries):
        raise TypeError(f"{many} returned {len(results)} results for {len(entries)} entries")
    return results


def _one_by_one(entries: Sequence[E], one: Callable[[E], T]) -> list[T | Exception]:
    """Return the result of each entry; another call may get the last entries meanwhile, see `Progress.withdraw`."""
    rest: deque[Hashable] = progress.rest if (progress := current_progress()) is not None else deque()
    rest.extend(entries)
    results: list[T | Exception] = []
    with suppress(IndexError):
        for entry in entries:
            rest.popleft()
            results.append(_attempt(one, entry))
    return [*results, *(NotTried("another call has it") for _ in entries[len(results) :])]


def _attempt(one: Callable[[E], T], entry: E) -> T | Exception:
    working_on(entry)
    try:
        return one(entry)
    except Exception as error:  # noqa: BLE001 - the caller logs it
        return error
