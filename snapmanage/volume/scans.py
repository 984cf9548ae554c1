"""One scan of a backend serves the pages that are read of it: a backend of 100,000 snapshots is asked once.

Whoever asks for a first page sees the backend as it is from then on; whoever goes on reads in the scan
that is there, as long as it isn't too old.
"""

import threading
import time
from functools import partial

from snapmanage.core.inventory import Inventory
from snapmanage.core.manageable import Page
from snapmanage.drivers.protocol import Driver
from snapmanage.drivers.system import deadline
from snapmanage.volume import steps


class Scans:
    """The scans of one backend; each is kept for `ttl_seconds`, and given up after `timeout_seconds`.

    With a `name_template`, snapshots that couldn't be given such a name are marked as unusable.
    """

    def __init__(self, driver: Driver, ttl_seconds: float, timeout_seconds: float, name_template: str = "") -> None:
        self._driver = driver
        self._name_template = name_template
        self._timeout = timeout_seconds
        self._ttl = ttl_seconds
        self._turn = threading.Lock()
        self._latest: Inventory | None = None
        self._begun_at = 0.0

    def for_page(self, page: Page) -> Inventory:
        """What the page is to be read of; an error of snapmanage when the backend can't be scanned.

        Who waits while another scans takes what that one finds, if it was begun late enough to count.
        """
        since = time.monotonic() - (self._ttl if page.goes_on else 0)
        with self._turn:
            if self._latest is None or self._begun_at < since:
                self._begun_at, self._latest = time.monotonic(), self._scan()
            return self._latest

    def _scan(self) -> Inventory:
        listing = partial(steps.list_snapshots, self._driver, self._name_template)
        return Inventory(deadline.within(self._timeout, "listing the backend's snapshots", listing))

    def forget_old(self) -> None:
        """Give the memory back when nobody goes on any more; does nothing during a scan."""
        if self._turn.acquire(blocking=False):
            try:
                if self._begun_at < time.monotonic() - self._ttl:
                    self._latest = None
            finally:
                self._turn.release()
