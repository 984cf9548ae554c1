"""A clock for tests, in place of the database's."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection


class FakeClock:
    """A database's clock that is stopped at `now`; without `now`, it follows the machine's time.

    A test sets it forward with `advance`.
    """

    def __init__(self, now: datetime | None = None) -> None:
        self._stopped = now
        self._ahead = timedelta()

    @property
    def now(self) -> datetime:
        return (self._stopped or datetime.now(UTC)) + self._ahead

    def __call__(self, conn: Connection) -> datetime:
        return self.now

    def stand_still(self) -> None:
        """Stop the clock, so that no lease expires because the machine pauses."""
        self._stopped = datetime.now(UTC)

    def advance(self, **time: float) -> datetime:
        """Move the clock by a `timedelta` with these arguments, and return its new time."""
        self._ahead += timedelta(**time)
        return self.now
