"""The number of attempts at an operation, and the back-off between them."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Retry:
    """The number of attempts at a failing operation, and the delays between them."""

    max_attempts: int
    first_delay: timedelta
    longest_delay: timedelta

    def delay(self, attempt: int) -> timedelta:
        """Return the delay after an attempt, counted from 1: doubled each time, up to the longest."""
        doubled: timedelta = self.first_delay * 2 ** min(attempt - 1, 30)
        return min(doubled, self.longest_delay)
