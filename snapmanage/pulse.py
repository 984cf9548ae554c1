"""The pulse of a loop: its thread notes when a turn begins and ends, so that a probe can find a hung thread.

A loop that waits for work is idle, however long it waits. A turn that takes too long is hung.
"""

import time
from collections.abc import Callable, Iterable


class Pulse:
    """The current turn of one loop, and whether an error has ended its thread.

    As a context manager it is one turn. `longest_turn_seconds` is the length of a turn that is still usual, for a loop
    with waits of its own. Any thread may read a pulse; a turn costs less than a microsecond.
    """

    def __init__(
        self, name: str, longest_turn_seconds: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._longest_turn_seconds = longest_turn_seconds
        self._clock = clock
        self._turn_began: float | None = None
        self._died = False

    def begin_turn(self) -> None:
        self._turn_began = self._clock()

    def end_turn(self) -> None:
        """Note that the loop is idle until its next turn."""
        self._turn_began = None

    def watched(self, run: Callable[[], None]) -> Callable[[], None]:
        """Return `run`, the target of the loop's thread; if an error ends it, the pulse has stopped."""

        def watched_run() -> None:
            try:
                run()
            except BaseException:
                self._died = True
                raise
            finally:
                self.end_turn()

        return watched_run

    def problem(self, hung_seconds: float) -> str | None:
        """Return a sentence if the thread has died, or has been in one turn for longer than `hung_seconds`."""
        if self._died:
            return f"the thread {self.name} has ended unexpectedly"
        if (began := self._turn_began) is None:
            return None
        age = self._clock() - began
        if age <= max(hung_seconds, self._longest_turn_seconds):
            return None
        return f"the thread {self.name} has been hung for {age:.0f} s"

    def __enter__(self) -> None:
        self._turn_began = self._clock()

    def __exit__(self, *exception: object) -> None:
        self._turn_began = None


def problems(pulses: Iterable[Pulse], hung_seconds: float) -> list[str]:
    """Return a sentence for each pulse that has stopped."""
    return [problem for pulse in pulses if (problem := pulse.problem(hung_seconds))]
