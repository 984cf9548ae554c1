"""Wait for the service, with growing pauses, until a deadline or a signal."""

import threading
import time
from collections.abc import Iterator

from snapmanage import errors
from snapmanage.client.api.http import Interrupted

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0


class TimedOut(errors.Unavailable):
    """`--timeout` has passed."""

    code = "timed_out"


class Deadline:
    """The end of a command's time; None means no end."""

    def __init__(self, seconds: float | None, stop: threading.Event) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds
        self._seconds = seconds
        self._stop = stop

    def check(self) -> None:
        """Raise `Interrupted` after a signal, and `TimedOut` after the deadline."""
        if self._stop.is_set():
            raise Interrupted("interrupted")
        if self._end is not None and time.monotonic() >= self._end:
            raise TimedOut(f"not finished after {self._seconds:g} seconds")

    def rounds(self) -> Iterator[None]:
        """Yield for each round of a loop that polls, with a pause after each round; raise like `check`."""
        pause = FIRST_PAUSE
        while True:
            self.check()
            yield
            self._stop.wait(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)
