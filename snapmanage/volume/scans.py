"""Scan a backend once for all pages of a listing: a backend of 100,000 snapshots is not scanned for each page.

A first page starts a new scan. A next page reads the latest scan, unless that is too old. The scans of all backends of
a process have room for `MOST_ENTRIES` entries: beyond it the oldest scan is forgotten, and its next page scans again.
"""

import threading
import time
from dataclasses import dataclass
from functools import partial

from snapmanage.core.lists.inventory import Inventory
from snapmanage.core.lists.manageable import Page
from snapmanage.drivers.protocol import Driver
from snapmanage.drivers.system.deadline import BoundedCalls
from snapmanage.volume import steps

# An entry takes about 1 kB.
MOST_ENTRIES = 500_000


@dataclass(frozen=True)
class Scan:
    """The result of a scan, and the monotonic time at which the scan began."""

    begun_at: float
    inventory: Inventory


class KeptScans:
    """The latest scan of each backend of a process, up to `most_entries` together; thread-safe."""

    def __init__(self, most_entries: int = MOST_ENTRIES) -> None:
        self._most_entries = most_entries
        self._kept: dict[str, Scan] = {}
        self._lock = threading.Lock()

    @property
    def entries(self) -> int:
        """Return the number of entries of all scans."""
        with self._lock:
            return sum(len(scan.inventory) for scan in self._kept.values())

    def get(self, server: str) -> Scan | None:
        with self._lock:
            return self._kept.get(server)

    def keep(self, server: str, scan: Scan) -> None:
        """Keep a scan instead of its predecessor, and forget the oldest ones of all if there are too many entries."""
        with self._lock:
            self._kept.pop(server, None)
            self._kept[server] = scan
            while sum(len(each.inventory) for each in self._kept.values()) > self._most_entries:
                del self._kept[next(iter(self._kept))]

    def forget_older(self, server: str, moment: float) -> None:
        """Forget the scan of a server if it began before `moment`."""
        with self._lock:
            if server in self._kept and self._kept[server].begun_at < moment:
                del self._kept[server]


class Scans:
    """The scans of one backend; each is kept for `ttl_seconds`, and abandoned after `timeout_seconds`.

    With a `name_template`, snapshots to which the driver can't give such a name are marked as unusable. Only so many
    abandoned scans may hang (`BoundedCalls`).
    """

    def __init__(
        self,
        server: str,
        driver: Driver,
        ttl_seconds: float,
        timeout_seconds: float,
        name_template: str = "",
        kept: KeptScans | None = None,
    ) -> None:
        self._server = server
        self._driver = driver
        self._name_template = name_template
        self._timeout = timeout_seconds
        self._ttl = ttl_seconds
        self._scanning = threading.Lock()
        self._calls = BoundedCalls()
        self._kept = kept or KeptScans()

    def for_page(self, page: Page) -> Inventory:
        """Return the scan to read a page from; raise an error of snapmanage if the backend can't be scanned.

        A caller that waited for another caller's scan uses that scan, if it began late enough. A scan that is too old
        is forgotten before the next one begins, so that the memory need not hold both.
        """
        since = time.monotonic() - (self._ttl if page.is_later_page else 0)
        with self._scanning:
            self._kept.forget_older(self._server, since)
            return (self._kept.get(self._server) or self._scan()).inventory

    def _scan(self) -> Scan:
        begun_at = time.monotonic()
        listing = partial(steps.list_snapshots, self._driver, self._name_template)
        found = self._calls.within(self._timeout, "listing the backend's snapshots", listing)
        scan = Scan(begun_at, Inventory(found))
        self._kept.keep(self._server, scan)
        return scan

    def forget_old(self) -> None:
        """Free the memory of a scan that is too old."""
        self._kept.forget_older(self._server, time.monotonic() - self._ttl)
