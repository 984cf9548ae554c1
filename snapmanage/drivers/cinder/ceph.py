"""Additions to Cinder's vendor driver for Ceph, from snapmanage's own scan of the same pool.

The vendor driver opens every image by its name: the first image that can't be opened fails the whole listing. It also
lists snapshots as safe that it can't rename or protect. This module runs beside Cinder, in `child`.
"""

import math
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from snapmanage.core.backend import GIB, BackendSnapshot
from snapmanage.drivers.rbd import lookup
from snapmanage.drivers.rbd.cluster import Cluster, Settings
from snapmanage.drivers.rbd.image import UNDECODABLE_NAME
from snapmanage.drivers.rbd.names import snapshot_part
from snapmanage.drivers.rbd.pool import Pool
from snapmanage.drivers.rbd.scan import scan_snapshots
from snapmanage.drivers.rbd.unreadable import is_listing_entry
from snapmanage.drivers.system import ceph_bindings

Driver = Any
Entries = list[dict[str, Any]]
WORKERS = 8
_UNADDRESSABLE = "the vendor driver can't address an image with '@' or '/' in its name: rename it (rbd rename)"
_NAMELESS = "the vendor driver can't open its image by the name: inspect the image with rbd info"


class _UnverifiedPool(Pool):
    def verify(self) -> None:
        """Do nothing: for an empty listing, the vendor driver's own check shows whether the pool exists."""


class CephPool:
    """The state of the vendor driver's pool at one time."""

    def __init__(self, driver: Driver, ioctx: Any) -> None:
        self._driver = driver
        self._ioctx = ioctx
        options = driver.configuration
        settings = Settings(options.rbd_pool, "", options.rbd_user, options.rbd_ceph_conf, 0, ceph_bindings.FOLDER)
        # The vendor driver protects each snapshot that it manages.
        self._pool = _UnverifiedPool(Cluster(settings), ioctx, options.rbd_pool, protect=True)
        self._images = {each.name: each for each in self._pool.images()}
        self._snapshots = scan_snapshots(self._pool, WORKERS)
        # Reasons why the vendor driver can't open an image, by its name.
        self._unopenable = {
            each.name: each.unsafe_reason for each in self._snapshots if is_listing_entry(each.identity)
        }
        self._unopenable |= {name: _UNADDRESSABLE for name in self._images if set(name) & set("@/")}
        # Images that it can open, but whose snapshots it can't list.
        self._unlistable = {each.parent for each in self._snapshots if each.unsafe_reason == UNDECODABLE_NAME}

    def identities(self, snapshots: bool = True) -> Mapping[str, str | None]:
        """Return the ids of images, and with `snapshots` also those of snapshots within their image, by name."""
        images = {name: each.image_id or f"format-1 {name}" for name, each in self._images.items()}
        found = {each.name: each.identity.replace("@", "/") for each in self._snapshots} if snapshots else {}
        return images | found

    def locate(self, ids: Collection[str]) -> Mapping[str, str]:
        """Return the objects with one of `ids`, as ids by name; the trash is searched too."""
        identities = {each.replace("/", "@") for each in ids}
        with ThreadPoolExecutor(WORKERS, "rbd-locate") as readers:
            found = lookup.locate(readers, self._pool.open_image, self._pool.readings, identities, ())
        return {each.name: each.identity.replace("@", "/") for each in found}

    def refusals(self, snapshots: bool) -> dict[str, str]:
        """Return the reasons against managing a snapshot, or registering a volume, by its name."""
        if not snapshots:
            return dict(self._unopenable)
        reasons = self._unopenable
        unopenable = {each.name: reasons[each.parent] for each in self._snapshots if each.parent in reasons}
        return unopenable | {each.name: each.unsafe_reason for each in self._snapshots if each.unsafe}

    def scan(self, scan: Callable[[], Entries], snapshots: bool) -> Entries:
        """Run the vendor driver's scan without the images that would fail it.

        A scan of volumes (`snapshots` false) includes images whose snapshots can't be listed. Renames never run at the
        same time, so hiding images affects the scan only.
        """
        self._unlistable = self._unlistable if snapshots else set()
        self._driver.RBDProxy = lambda: self
        try:
            return scan()
        except self._driver.rbd.Error:
            self._unopenable |= {name: _NAMELESS for name in self.list() if not self._opens(name)}
            return scan()
        finally:
            del self._driver.RBDProxy

    def skipped(self, snapshots: bool) -> Entries:
        """Return the images that the scan skipped, or the snapshots of these images, in the form of its entries."""
        if not snapshots:
            return [self._image_entry(name) for name in self._unopenable]
        skipped = self._unopenable.keys() | self._unlistable
        return [self._entry(each) for each in self._snapshots if each.parent in skipped]

    def list(self, *_: Any) -> list[str]:
        """Return the images that the scan may open; replaces `rbd.RBD.list`."""
        return [name for name in self._images if name not in self._unopenable.keys() | self._unlistable]

    def _opens(self, name: str) -> bool:
        with suppress(self._driver.rbd.Error), self._driver.rbd.Image(self._ioctx, name, read_only=True):
            return True
        return False

    def _image_entry(self, name: str) -> dict[str, Any]:
        return {"reference": {"source-name": name}, "size": 0, "cinder_id": None, "extra_info": None}

    def _entry(self, found: BackendSnapshot) -> dict[str, Any]:
        if found.name == found.parent:
            return self._image_entry(found.name)
        entry: dict[str, Any] = {"size": math.ceil(found.size_bytes / GIB), "cinder_id": None, "extra_info": None}
        name = snapshot_part(found.name, found.parent or "")
        return entry | {"reference": {"source-name": name}, "source_reference": {"source-name": found.parent}}


def list_entries(driver: Driver, scan: Callable[[], Entries], snapshots: bool) -> Mapping[str, Any]:
    """Return the entries of the vendor driver's scan, and those that it can't list."""
    from cinder.volume.drivers.rbd import RADOSClient

    with RADOSClient(driver) as client:
        pool = CephPool(driver, client.ioctx)
        entries = pool.scan(scan, snapshots)
        return {
            "entries": entries + pool.skipped(snapshots),
            "identities": pool.identities(snapshots),
            "refusals": pool.refusals(snapshots),
        }


def all_identities(driver: Driver, ids: Collection[str]) -> Mapping[str, str | None]:
    """Return the ids of images, and of snapshots within their image, by name; from the trash only those in `ids`."""
    from cinder.volume.drivers.rbd import RADOSClient

    with RADOSClient(driver) as client:
        pool = CephPool(driver, client.ioctx)
        return {**pool.locate(ids), **pool.identities()}
