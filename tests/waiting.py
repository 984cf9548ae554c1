"""Wait for a condition with a deadline, instead of sleeping for a fixed time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SHORTEST_PAUSE, LONGEST_PAUSE = 0.01, 0.2


def until(condition: Callable[[], T], awaited: str, seconds: float = 20.0) -> T:
    """Return the condition's value once it is true; after `seconds`, fail with the text `awaited`."""
    started = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        waited = time.monotonic() - started
        if waited > seconds:
            raise AssertionError(f"waited {seconds:g} s for {awaited}; last value: {value!r}")
        # Each check takes processor time from the awaited process, so the pause grows with the wait.
        time.sleep(min(SHORTEST_PAUSE + waited / 10, LONGEST_PAUSE))
