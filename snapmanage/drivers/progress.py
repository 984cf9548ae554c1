"""How far a driver is with its batch: written by the driver's threads, read by the worker."""

import threading
import time
from collections import deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Progress:
    """How far a batch is; written by the threads of the driver, read by others.

    `begun` counts the entries on which work has begun, `current` is the last of them, `moved_at` the monotonic time
    at which it was begun. The progress of a part of a batch counts for the whole batch too, its `whole`. `rest` holds
    the entries that may still be withdrawn; it is empty if the driver has got them all in one call.
    """

    whole: "Progress | None" = None
    current: object = None
    moved_at: float = field(default_factory=time.monotonic)
    rest: deque[Hashable] = field(default_factory=deque)
    _begun: set[Hashable] = field(default_factory=set)

    @property
    def begun(self) -> int:
        return len(self._begun)

    def note(self, entry: Hashable) -> None:
        """Note that work on an entry begins; a further call for an entry starts its time again, and doesn't count."""
        self._begun.add(entry)
        self.current, self.moved_at = entry, time.monotonic()
        if self.whole is not None:
            self.whole.note(entry)

    def withdraw(self) -> int:
        """Take the last entries from the batch, all that aren't begun; return their number.

        The first entry stays, so that the batch has a result.
        """
        number = 0
        with suppress(IndexError):
            while self.current is not None:
                self.rest.pop()
                number += 1
        return number


_THREAD = threading.local()


@contextmanager
def reported(progress: Progress | None) -> Iterator[None]:
    """Let `working_on` write to `progress`, in this thread and inside the block."""
    _THREAD.progress = progress
    try:
        yield
    finally:
        del _THREAD.progress


def current_progress() -> Progress | None:
    """Return the progress to which `working_on` writes in this thread; None outside of a batch.

    A driver that works on a batch in further threads lets `working_on` write to it there, with `reported`.
    """
    progress: Progress | None = getattr(_THREAD, "progress", None)
    return progress


def working_on(entry: Hashable) -> None:
    """Note that the driver begins to work on an entry of its batch, a `Binding`, an `Asked` or a `Reference`."""
    if (progress := current_progress()) is not None:
        progress.note(entry)
