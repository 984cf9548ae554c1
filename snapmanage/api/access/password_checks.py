"""Limits on the checks of passwords, which are slow on purpose: a guessing client must not delay the logins of others.

A process checks a few passwords at a time, and of each client one after the other. The others wait in a line: clients
with fewer wrong passwords in the last minute are first, and a client with too many is refused. The line is limited,
since each place in it holds a thread.
"""

import itertools
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from snapmanage import errors

# A client that has a place in the line leaves these places to clients without one.
RESERVED = 2
# A client with a wrong password in the last minute gets no place in this part of the line.
RESERVED_PART = 1 / 2
BUSY_SECONDS = 1


@dataclass(frozen=True)
class _Place:
    """A place in the line; numbers rise."""

    number: int
    client: str


class PasswordChecks:
    """The line of password checks, and the number of wrong passwords of each client in the last minute.

    The memory of clients is bounded: only a wrong password that was checked adds a client, for a minute, and the number
    of checks in a minute is limited by their cost.
    """

    def __init__(self, wrong_per_minute: int, parallel: int, places: int) -> None:
        """Check up to `parallel` passwords at a time; up to `places` threads check or wait."""
        self._limit = RateLimitItemPerMinute(wrong_per_minute)
        self._storage = MemoryStorage()
        self._wrong = MovingWindowRateLimiter(self._storage)
        self._adding = threading.Lock()
        self._parallel = parallel
        self._places = places
        self._numbers = itertools.count()
        self._line: list[_Place] = []
        self._checked: set[str] = set()
        self._changed = threading.Condition()

    @contextmanager
    def admitted(self, client: str) -> Iterator[None]:
        """Wait in the line, and hold a place while a password of the client is checked.

        Raise `TooManyRequests` if the client has sent too many wrong passwords, or if too many threads wait.
        """
        self._wait_in_line(client)
        try:
            self._require_few_wrong(client)  # passwords before this one in the line may have been wrong
            yield
        finally:
            with self._changed:
                self._checked.remove(client)
                self._changed.notify_all()

    @property
    def waiting(self) -> set[str]:
        """Return the clients that wait in the line."""
        with self._changed:
            return {place.client for place in self._line}

    @property
    def guessing(self) -> int:
        """Return the number of clients whose wrong passwords are remembered."""
        return len(self._storage.events)

    def add_wrong(self, client: str) -> None:
        """Count a wrong password, and forget the clients without one in the last minute.

        The storage itself would keep an empty list for each of them for ever.
        """
        with self._adding:
            self._wrong.hit(self._limit, client)
            for key in [key for key, times in list(self._storage.events.items()) if not times]:
                del self._storage.events[key]

    def _wait_in_line(self, client: str) -> None:
        self._require_few_wrong(client)
        place = _Place(next(self._numbers), client)
        with self._changed:
            self._require_room(place)
            self._line.append(place)
            self._changed.wait_for(lambda: self._next() == place)
            self._line.remove(place)
            self._checked.add(client)
            self._changed.notify_all()

    def _next(self) -> _Place | None:
        """Return the place whose check may begin now."""
        if len(self._checked) >= self._parallel:
            return None
        free = (place for place in self._line if place.client not in self._checked)
        # A password that was wrong after a place was taken counts too: the first guesses of a client arrive together.
        return min(free, key=lambda place: (self._wrong_passwords(place.client), place.number), default=None)

    def _require_room(self, place: _Place) -> None:
        own = sum(each.client == place.client for each in self._line) + (place.client in self._checked)
        kept_free = max(
            self._places * RESERVED_PART if self._wrong_passwords(place.client) else 0, RESERVED if own else 0
        )
        if self._places - len(self._line) - len(self._checked) <= kept_free:
            raise errors.TooManyRequests("Too many passwords are being checked; try again.", BUSY_SECONDS)

    def _require_few_wrong(self, client: str) -> None:
        """Raise `TooManyRequests` if a client has sent too many wrong passwords."""
        until, remaining = self._wrong.get_window_stats(self._limit, client)
        if remaining <= 0:
            text = "Too many wrong passwords from this address; try again later."
            raise errors.TooManyRequests(text, max(1, math.ceil(until - time.time())))

    def _wrong_passwords(self, client: str) -> int:
        """Return the number of a client's wrong passwords in the last minute."""
        return self._limit.amount - self._wrong.get_window_stats(self._limit, client).remaining
