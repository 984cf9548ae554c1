"""One listing of a pool: it reads every image, and reports unreadable images beside the others.

**Failures of an image and of the cluster.** Some errors are certainly caused by the image (`unreadable`): the image
gets an entry, even if no image can be read. Any other error, such as a timeout or a missing permission, may be caused
by the cluster. It counts as the image's own only if all of these hold: other images were read, one of them can be read
again afterwards, and at most `workers` images timed out. Otherwise the whole listing fails and is retried. A broken
connection always fails the listing.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, TypeVar

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, BackendVolume
from snapmanage.drivers.rbd.cluster import is_broken
from snapmanage.drivers.rbd.pool import Pool
from snapmanage.drivers.rbd.unreadable import (
    ImageEntry,
    ImageUnreadable,
    listing_entry,
    unreadable_reason,
    volume_entry,
)

F = TypeVar("F", BackendSnapshot, BackendVolume)


def scan_snapshots(pool: Pool, workers: int) -> list[BackendSnapshot]:
    """Return every snapshot of the pool, and an entry for each unreadable image."""
    return _PoolScan(pool, workers, pool.snapshots, listing_entry).run()


def scan_volumes(pool: Pool, workers: int) -> list[BackendVolume]:
    """Return every image of the pool."""
    return _PoolScan(pool, workers, pool.volumes, volume_entry).run()


class _PoolScan(Generic[F]):
    """Reads each image of a pool once with `read`, `workers` at a time; `entry` describes an unreadable image."""

    def __init__(
        self,
        pool: Pool,
        workers: int,
        read: Callable[[ImageEntry], Sequence[F]],
        entry: Callable[[ImageEntry, str], F],
    ) -> None:
        self._pool = pool
        self._workers = workers
        self._read: Callable[[ImageEntry], Sequence[F]] = read
        self._entry: Callable[[ImageEntry, str], F] = entry
        self._lock = threading.Lock()
        self._readable: list[ImageEntry] = []
        self._unreadable: dict[ImageEntry, ImageUnreadable] = {}
        self._doubtful: dict[ImageEntry, errors.SnapmanageError] = {}

    def run(self) -> list[F]:
        """Return the objects that were read, and an entry for each unreadable image."""
        images = self._pool.images()
        with ThreadPoolExecutor(self._workers, "rbd-list") as readers:
            found = [each for several in readers.map(self._read_image, images) for each in several]
        if not self._readable and not self._unreadable and not self._doubtful:
            self._pool.verify()
        if self._doubtful:
            self._refuse_cluster_failure()
        unreadable = [self._entry(failure.image, failure.reason) for failure in self._unreadable.values()]
        doubtful = [
            self._entry(image, unreadable_reason(image, str(failure), "list again when the image can be read"))
            for image, failure in self._doubtful.items()
        ]
        return found + unreadable + doubtful

    def _read_image(self, image: ImageEntry) -> Sequence[F]:
        """Return the image's objects; record a failure, and skip the image where the cluster has failed."""
        if self._cluster_failed():
            return []
        try:
            found = self._read(image)
        except errors.SourceNotFound:
            return []  # the image was removed meanwhile
        except ImageUnreadable as failure:
            self._unreadable[image] = failure
            return []
        except errors.SnapmanageError as failure:
            with self._lock:
                self._doubtful[image] = failure
            return []
        self._readable.append(image)
        return found

    def _cluster_failed(self) -> bool:
        with self._lock:
            failures = list(self._doubtful.values())
        timeouts = [failure for failure in failures if isinstance(failure, errors.BackendUnavailable)]
        return len(timeouts) > self._workers or any(map(is_broken, timeouts))

    def _refuse_cluster_failure(self) -> None:
        """Raise the failure where the cluster may have caused it; return where only a few images failed."""
        failure = next(iter(self._doubtful.values()))
        if self._cluster_failed() or not self._readable:
            raise next(filter(is_broken, self._doubtful.values()), failure)
        # The image may have been removed meanwhile; any answer shows that the cluster works.
        with suppress(errors.Invalid):
            self._read(self._readable[0])
