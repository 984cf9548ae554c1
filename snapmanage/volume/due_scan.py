"""Find due operations of all servers of a process: retries, and operations whose claims have ended.

One query serves all servers. A query of each worker would keep half a processor busy with a hundred idle backends.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping

from sqlalchemy.exc import SQLAlchemyError

from snapmanage.core.values.logfields import fields
from snapmanage.pulse import Pulse
from snapmanage.store import records
from snapmanage.store.engine.database import Database

LOG = logging.getLogger(__name__)


class DueScan:
    """A thread that calls the function of each server that has due operations.

    `intervals` has the seconds between two scans for each server. Servers with equal intervals share each query.
    """

    def __init__(self, db: Database, intervals: Mapping[str, float]) -> None:
        self._db = db
        self._intervals = intervals
        self._nudges: Mapping[str, Callable[[], None]] = {}
        self._next: dict[str, float] = {}
        self._changed = threading.Condition()  # guards `_nudges`
        self._stopping = False
        self.pulse = Pulse("due scan")
        self._thread = threading.Thread(target=self.pulse.watched(self._run), name="due scan", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, server: str, nudge: Callable[[], None]) -> None:
        """Scan for a server from now on."""
        with self._changed:
            self._nudges = {**self._nudges, server: nudge}
            self._changed.notify()

    def stop(self) -> None:
        """Begin no other scan."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def _run(self) -> None:
        while servers := self._next_servers():
            try:
                with self.pulse, self._db.read() as conn:
                    due = records.servers_with_due(conn, servers, self._db.clock(conn))
            except SQLAlchemyError as error:
                LOG.warning("Database error; the scan for due operations is repeated: %s", fields(reason=error))
            except Exception:
                LOG.exception("The scan for due operations failed; it is repeated.")
            else:
                for server in due.intersection(servers):
                    self._nudges[server]()

    def _next_servers(self) -> list[str]:
        """Wait for the next scan, and return its servers; return none after `stop`."""
        with self._changed:
            while not self._stopping:
                now = time.monotonic()
                if servers := [server for server in self._nudges if self._next.get(server, 0.0) <= now]:
                    # Multiples of the interval: so servers that were added at different times are scanned together.
                    for server in servers:
                        interval = self._intervals[server]
                        self._next[server] = (math.floor(now / interval) + 1) * interval
                    return servers
                self._changed.wait(min(map(self._next.__getitem__, self._nudges)) - now if self._nudges else None)
        return []
