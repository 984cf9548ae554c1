"""One listing of a pool: every image is read, and those that can't be read are reported beside the others.

**Where an image's failure ends and the cluster's begins.** Some errors are the image's own (`unreadable`): the
image gets an entry, even if no image can be read. Any other error, such as a time-out or a missing permission, may be
the cluster's. It counts as the image's only if other images were read, one of them can be read again afterwards, and
no more than `workers` images timed out. Else the whole listing fails, and is tried again. A broken connection always
fails the listing.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot
from snapmanage.drivers.rbd import unreadable
from snapmanage.drivers.rbd.cluster import broken
from snapmanage.drivers.rbd.pool import Pool
from snapmanage.drivers.rbd.unreadable import ImageUnreadable, Listed


class Scan:
    """Reads each image of a pool once, `workers` at a time."""

    def __init__(self, pool: Pool, workers: int) -> None:
        self._pool = pool
        self._workers = workers
        self._lock = threading.Lock()
        self._read: list[Listed] = []
        self._own: dict[Listed, ImageUnreadable] = {}
        self._doubtful: dict[Listed, errors.SnapmanageError] = {}

    def snapshots(self) -> list[BackendSnapshot]:
        """Every snapshot of the pool, and an entry for each image that can't be read."""
        images = self._pool.images()
        with ThreadPoolExecutor(self._workers, "rbd-list") as readers:
            found = [each for several in readers.map(self._snapshots, images) for each in several]
        if not self._read and not self._own and not self._doubtful:
            self._pool.verify()
        if self._doubtful:
            self._judge()
        own = [unreadable.entry(failure.listed, failure.reason) for failure in self._own.values()]
        doubtful = [
            unreadable.entry(listed, unreadable.reason(listed, str(failure), "list again when the image can be read"))
            for listed, failure in self._doubtful.items()
        ]
        return found + own + doubtful

    def _snapshots(self, listed: Listed) -> list[BackendSnapshot]:
        if self._hopeless():
            return []
        try:
            found = self._pool.snapshots(listed)
        except errors.SourceNotFound:
            return []  # the image was removed meanwhile
        except ImageUnreadable as failure:
            self._own[listed] = failure
            return []
        except errors.SnapmanageError as failure:
            with self._lock:
                self._doubtful[listed] = failure
            return []
        self._read.append(listed)
        return found

    def _hopeless(self) -> bool:
        with self._lock:
            failures = list(self._doubtful.values())
        silent = [failure for failure in failures if isinstance(failure, errors.BackendUnavailable)]
        return len(silent) > self._workers or any(map(broken, silent))

    def _judge(self) -> None:
        """Raise what failed unless the cluster is well but for a few images."""
        failure = next(iter(self._doubtful.values()))
        if self._hopeless() or not self._read:
            raise next(filter(broken, self._doubtful.values()), failure)
        # It may have been removed since; what counts is that the cluster answers.
        with suppress(errors.Invalid):
            self._pool.snapshots(self._read[0])
