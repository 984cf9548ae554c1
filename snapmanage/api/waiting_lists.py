"""The lists of manageable snapshots that wait for their servers, which leave threads for all other requests."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from snapmanage import errors


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
