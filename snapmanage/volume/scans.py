"""Scan a backend once for all pages of a list: a backend of 100,000 snapshots is not scanned for each page.

A first page starts a new scan. A next page reads the latest scan, unless that is too old. The scans of all backends of
a process have room for `MOST_ENTRIES` entries: beyond it the oldest scan is forgotten, and its next page scans again.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic

from snapmanage.core.backend import BackendSnapshot, BackendVolume
from snapmanage.core.lists.filters import Page
from snapmanage.core.lists.inventory import Inventory, L
from snapmanage.drivers.protocol import Driver
from snapmanage.drivers.system.deadline import BoundedCalls
from snapmanage.volume import steps
from snapmanage.volume.limits import BackendLimits

# An entry takes about 1 kB.
MOST_ENTRIES = 500_000
# The name of a server, and the kind of the objects in a scan.
Key = tuple[str, str]


@dataclass(frozen=True)
class Scan:
    """The result of a scan, and the monotonic time at which the scan began."""

    begun_at: float
    inventory: Inventory[Any]


class KeptScans:
    """The latest scans of each backend of a process, up to `most_entries` together; thread-safe."""

    def __init__(self, most_entries: int = MOST_ENTRIES) -> None:
        self._most_entries = most_entries
        self._kept: dict[Key, Scan] = {}
        self._lock = threading.Lock()

    @property
    def entries(self) -> int:
        """Return the number of entries of all scans."""
        with self._lock:
            return sum(len(scan.inventory) for scan in self._kept.values())

    def get(self, key: Key) -> Scan | None:
        with self._lock:
            return self._kept.get(key)

    def keep(self, key: Key, scan: Scan) -> None:
        """Keep a scan instead of its predecessor, and forget the oldest ones of all if there are too many entries."""
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = scan
            while sum(len(each.inventory) for each in self._kept.values()) > self._most_entries:
                del self._kept[next(iter(self._kept))]

    def forget_older(self, key: Key, moment: float) -> None:
        """Forget the scan of a key if it began before `moment`."""
        with self._lock:
            if key in self._kept and self._kept[key].begun_at < moment:
                del self._kept[key]


class Scans(Generic[L]):
    """The scans of one backend for objects of one `kind`, such as `snapshots`; `scan` does one.

    Each is kept for `ttl_seconds`, and abandoned after `timeout_seconds`. Only so many abandoned scans may hang
    (`BoundedCalls`).
    """

    def __init__(
        self,
        server: str,
        kind: str,
        scan: Callable[[], Sequence[L]],
        ttl_seconds: float,
        timeout_seconds: float,
        kept: KeptScans | None = None,
    ) -> None:
        self._key = (server, kind)
        self._action = f"listing the backend's {kind}"
        self._list: Callable[[], Sequence[L]] = scan
        self._timeout = timeout_seconds
        self._ttl = ttl_seconds
        self._scanning = threading.Lock()
        self._calls = BoundedCalls()
        self._kept = kept or KeptScans()

    def for_page(self, page: Page) -> Inventory[L]:
        """Return the scan to read a page from; raise an error of snapmanage if the backend can't be scanned.

        A caller that waited for another caller's scan uses that scan, if it began late enough. A scan that is too old
        is forgotten before the next one begins, so that the memory need not hold both.
        """
        since = time.monotonic() - (self._ttl if page.is_later_page else 0)
        with self._scanning:
            self._kept.forget_older(self._key, since)
            return (self._kept.get(self._key) or self._scan()).inventory

    def _scan(self) -> Scan:
        begun_at = time.monotonic()
        found = self._calls.within(self._timeout, self._action, self._list)
        scan = Scan(begun_at, Inventory(found))
        self._kept.keep(self._key, scan)
        return scan

    def forget_old(self) -> None:
        """Free the memory of a scan that is too old."""
        self._kept.forget_older(self._key, time.monotonic() - self._ttl)


class BackendScans:
    """The scans of one backend for snapshots and for volumes.

    With a `name_template`, snapshots to which the driver can't give such a name are marked as unusable.
    """

    def __init__(
        self, server: str, driver: Driver, limits: BackendLimits, name_template: str = "", kept: KeptScans | None = None
    ) -> None:
        ttl, timeout, kept = limits.inventory_ttl_seconds, limits.driver_timeout_seconds, kept or KeptScans()
        list_snapshots = partial(steps.list_snapshots, driver, name_template)
        list_volumes = partial(steps.list_volumes, driver)
        self.snapshots = Scans[BackendSnapshot](server, "snapshots", list_snapshots, ttl, timeout, kept)
        self.volumes = Scans[BackendVolume](server, "volumes", list_volumes, ttl, timeout, kept)

    def forget_old(self) -> None:
        """Free the memory of the scans that are too old."""
        self.snapshots.forget_old()
        self.volumes.forget_old()
