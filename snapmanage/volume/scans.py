"""Scan a backend once for all pages of a listing: a backend of 100,000 snapshots is not scanned for each page.

A first page starts a new scan. A next page reads the latest scan, unless that is too old.
"""

import threading
import time
from functools import partial

from snapmanage.core.lists.inventory import Inventory
from snapmanage.core.lists.manageable import Page
from snapmanage.drivers.protocol import Driver
from snapmanage.drivers.system import deadline
from snapmanage.volume import steps


class Scans:
    """The scans of one backend; each is kept for `ttl_seconds`, and abandoned after `timeout_seconds`.

    With a `name_template`, snapshots to which the driver can't give such a name are marked as unusable.
    """

    def __init__(self, driver: Driver, ttl_seconds: float, timeout_seconds: float, name_template: str = "") -> None:
        self._driver = driver
        self._name_template = name_template
        self._timeout = timeout_seconds
        self._ttl = ttl_seconds
        self._scanning = threading.Lock()
        self._latest: Inventory | None = None
        self._begun_at = 0.0

    def for_page(self, page: Page) -> Inventory:
        """Return the scan to read a page from; raise an error of snapmanage if the backend can't be scanned.

        A caller that waited for another caller's scan uses that scan, if it began late enough.
        """
        since = time.monotonic() - (self._ttl if page.is_later_page else 0)
        with self._scanning:
            if self._latest is None or self._begun_at < since:
                begun_at = time.monotonic()
                listing = partial(steps.list_snapshots, self._driver, self._name_template)
                found = deadline.within(self._timeout, "listing the backend's snapshots", listing)
                self._begun_at, self._latest = begun_at, Inventory(found)
            return self._latest

    def forget_old(self) -> None:
        """Free the memory of a scan that is too old; do nothing during a scan."""
        if self._scanning.acquire(blocking=False):
            try:
                if self._begun_at < time.monotonic() - self._ttl:
                    self._latest = None
            finally:
                self._scanning.release()
