"""What Cinder's Ceph driver can't see, or fails on: found by snapmanage's own scan of the same pool.

That driver opens every image by its name, and its whole listing fails with the first one that can't be opened. It
also lists as safe what it then can't rename or protect. This runs beside Cinder, in `child`.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from snapmanage.core.backend import GIB, BackendSnapshot
from snapmanage.drivers.rbd import lookup
from snapmanage.drivers.rbd.cluster import Cluster, Settings
from snapmanage.drivers.rbd.image import ODD_NAME
from snapmanage.drivers.rbd.names import snapshot_part
from snapmanage.drivers.rbd.pool import Pool
from snapmanage.drivers.rbd.scan import PoolScan
from snapmanage.drivers.rbd.unreadable import is_listing_entry
from snapmanage.drivers.system import ceph_bindings

Driver = Any
Entries = list[dict[str, Any]]
WORKERS = 8
_UNADDRESSABLE = "Cinder's driver can't address an image with '@' or '/' in its name: rename it (rbd rename)"
_NAMELESS = "Cinder's driver can't open its image by the name: look at the image with rbd info"


class _Pool(Pool):
    def verify(self) -> None:
        """Cinder's driver itself is asked whether the pool is there, where nothing is listed."""


class CephPool:
    """One look at the pool of a driver."""

    def __init__(self, driver: Driver, ioctx: Any) -> None:
        self._driver = driver
        self._ioctx = ioctx
        options = driver.configuration
        settings = Settings(options.rbd_pool, "", options.rbd_user, options.rbd_ceph_conf, 0, ceph_bindings.FOLDER)
        # Cinder's driver protects each snapshot that it manages.
        self._pool = _Pool(Cluster(settings), ioctx, options.rbd_pool, protect=True)
        self._images = {each.name: each for each in self._pool.images()}
        self._snapshots = PoolScan(self._pool, WORKERS).snapshots()
        # What the driver can't open, by the image's name; and what it opens, and can't list the snapshots of.
        self._unseen = {each.name: each.unsafe_reason for each in self._snapshots if is_listing_entry(each.identity)}
        self._unseen |= {name: _UNADDRESSABLE for name in self._images if set(name) & set("@/")}
        self._odd = {each.parent for each in self._snapshots if each.unsafe_reason == ODD_NAME}

    def identities(self) -> Mapping[str, str | None]:
        """Ids of images, and of snapshots within their image, by their names."""
        images = {name: each.image_id or f"format-1 {name}" for name, each in self._images.items()}
        return images | {each.name: each.identity.replace("@", "/") for each in self._snapshots}

    def hidden(self, wanted: Collection[str]) -> Mapping[str, str]:
        """Ids by name, of what has one of the ids: the directory doesn't show an image in the trash, its id does."""
        ids = {each.replace("/", "@") for each in wanted}
        with ThreadPoolExecutor(WORKERS, "rbd-locate") as readers:
            found = lookup.locate(readers, self._pool.open_image, ids, ())
        return {each.name: each.identity.replace("@", "/") for each in found}

    def refusals(self) -> dict[str, str]:
        """Why a snapshot can't be managed, by its name."""
        unseen = {each.name: self._unseen[each.parent] for each in self._snapshots if each.parent in self._unseen}
        return unseen | {each.name: each.unsafe_reason for each in self._snapshots if each.unsafe}

    def scan(self, scan: Callable[[], Entries], snapshots: bool) -> Entries:
        """Let the driver list without the images that it would fail on; `snapshots`, what is listed, may be odd."""
        self._odd = self._odd if snapshots else set()
        with self._skipping():
            try:
                return scan()
            except self._driver.rbd.Error:
                self._unseen |= {name: _NAMELESS for name in self.list() if not self._opens(name)}
                return scan()

    def skipped(self) -> Entries:
        """The snapshots of the images that the driver didn't list, as it would have listed them."""
        return [self._entry(each) for each in self._snapshots if each.parent in self._unseen.keys() | self._odd]

    @contextmanager
    def _skipping(self) -> Iterator[None]:
        """Hide images from the driver's listing; scans and renames take turns, so nothing else notices."""
        self._driver.RBDProxy = lambda: self
        try:
            yield
        finally:
            del self._driver.RBDProxy

    def list(self, *_: Any) -> list[str]:
        """The images that the driver's listing may open, in the place of `rbd.RBD.list`."""
        return [name for name in self._images if name not in self._unseen.keys() | self._odd]

    def _opens(self, name: str) -> bool:
        with suppress(self._driver.rbd.Error), self._driver.rbd.Image(self._ioctx, name, read_only=True):
            return True
        return False

    def _entry(self, found: BackendSnapshot) -> dict[str, Any]:
        entry: dict[str, Any] = {"size": math.ceil(found.size_bytes / GIB), "cinder_id": None, "extra_info": None}
        if found.name == found.parent:
            return entry | {"reference": {"source-name": found.name}}
        name = snapshot_part(found.name, found.parent or "")
        return entry | {"reference": {"source-name": name}, "source_reference": {"source-name": found.parent}}


def listed(driver: Driver, scan: Callable[[], Entries], snapshots: bool) -> Mapping[str, Any]:
    """Scan with the driver; what it can't list is added where it is `snapshots` that are listed."""
    from cinder.volume.drivers.rbd import RADOSClient

    with RADOSClient(driver) as client:
        pool = CephPool(driver, client.ioctx)
        entries = pool.scan(scan, snapshots)
        more = pool.skipped() if snapshots else []
        return {"entries": entries + more, "identities": pool.identities(), "refusals": pool.refusals()}


def objects(driver: Driver, wanted: Collection[str]) -> Mapping[str, str | None]:
    """Return ids of images, and of snapshots within their image, by their names; those `wanted` in the trash too."""
    from cinder.volume.drivers.rbd import RADOSClient

    with RADOSClient(driver) as client:
        pool = CephPool(driver, client.ioctx)
        return {**pool.hidden(wanted), **pool.identities()}
