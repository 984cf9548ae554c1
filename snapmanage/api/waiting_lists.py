"""The lists that wait for a server or for the database, which leave threads for all other requests."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from snapmanage import errors

# A list of records waits for a place as long as no list in a place has taken longer.
SLOW_SECONDS = 2.0
# While `SearchLimits.waiting` lists wait, a further one waits only as long as no list in a place has taken longer.
QUICK_SECONDS = 0.1


@dataclass(frozen=True)
class ListingLimits:
    """The numbers of lists of a process that may wait at the same time."""

    total: int = 8
    per_server: int = 4

    @classmethod
    def of_threads(cls, threads: int) -> "ListingLimits":
        """Return the limits of a process with so many threads: half of them, and a quarter for each server."""
        return cls(max(1, threads // 2), max(1, threads // 4))


class Listings:
    """Admits the lists that wait; a list beyond a limit is refused at once."""

    def __init__(self, limits: ListingLimits) -> None:
        self._limits = limits
        self._waiting: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def admitted(self, server: str) -> Iterator[None]:
        """Hold a place while a list waits for a server; raise `Unavailable` if all places are taken."""
        with self._lock:
            self._refuse_beyond(server)
            self._waiting[server] += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting[server] -= 1
                self._waiting += Counter()  # forget the servers without a waiting list

    def _refuse_beyond(self, server: str) -> None:
        if self._waiting[server] >= self._limits.per_server:
            raise errors.Unavailable(
                f"the limit of lists that wait for {server} is reached ({self._limits.per_server}); its backend may be "
                "slow or hang, so try again later"
            )
        if self._waiting.total() >= self._limits.total:
            servers = ", ".join(sorted(+self._waiting))
            raise errors.Unavailable(
                f"the limit of waiting lists is reached ({self._limits.total}), so the list of {server} was not "
                f"requested; the backends of {servers} may be slow or hang, so try again later"
            )


@dataclass(frozen=True)
class SearchLimits:
    """The numbers of lists of records of a process that the database may work on at the same time.

    `waiting` is the number of lists that wait patiently for a place, since each of them holds a thread.
    """

    total: int = 12
    per_project: int = 8
    waiting: int = 2

    @classmethod
    def of_process(cls, threads: int, connections: int) -> "SearchLimits":
        """Return the limits of a process: three quarters of its threads, half for each project, an eighth that wait.

        Each list in a place holds a connection of the database, so the same parts of the connections are limits too.
        """
        places = min(threads, connections)
        return cls(max(1, places * 3 // 4), max(1, places // 2), max(1, threads // 8))


class Searches:
    """Admits the lists of records, which can take the database many seconds in a project with many records.

    Quick lists wait for each other. A list is refused while the places are held by slow ones, or if many others wait
    and the places are not held by quick ones.
    """

    def __init__(
        self, limits: SearchLimits, slow_seconds: float = SLOW_SECONDS, quick_seconds: float = QUICK_SECONDS
    ) -> None:
        self._limits = limits
        self._slow_seconds = slow_seconds
        self._quick_seconds = min(quick_seconds, slow_seconds)
        self._waiting = 0
        self._running: dict[object, tuple[str, float]] = {}
        self._changed = threading.Condition()

    @contextmanager
    def admitted(self, project_id: str) -> Iterator[None]:
        """Hold a place during a list of the caller's project; raise `SlowList` if slow lists hold all places.

        The caller keeps it until the answer is made, so that the places limit the memory of pages too.
        """
        place = object()
        with self._changed:
            self._wait(project_id)
            self._running[place] = (project_id, time.monotonic())
        try:
            yield
        finally:
            with self._changed:
                del self._running[place]
                self._changed.notify_all()

    def _wait(self, project_id: str) -> None:
        """Wait for a place; raise `SlowList` if the lists in all places have taken too long."""
        patience = self._slow_seconds if self._waiting < self._limits.waiting else self._quick_seconds
        self._waiting += 1
        try:
            while (remaining := self._seconds_to_wait(project_id, patience)) > 0:
                self._changed.wait(remaining)
        finally:
            self._waiting -= 1

    def _seconds_to_wait(self, project_id: str, patience: float) -> float:
        """Return the seconds to wait for a place at most, 0 if a place is free.

        Raise `SlowList` if a list in a place has taken longer than `patience` seconds.
        """
        own = [begun for project, begun in self._running.values() if project == project_id]
        every = [begun for _, begun in self._running.values()]
        full = own if len(own) >= self._limits.per_project else every if len(every) >= self._limits.total else []
        if not full:
            return 0.0
        remaining = min(full) + patience - time.monotonic()
        if remaining <= 0:
            raise errors.SlowList(
                "too many slow lists are in progress; try again later, and use fewer filters or shorter pages"
            )
        return remaining
