"""Ceph RBD: snapshots of the images in one pool and namespace, through librbd.

**Names.** `source-name` is IMAGE@SNAPSHOT, or SNAPSHOT on the volume that the request names. A managed snapshot is
named IMAGE@SNAPSHOT too, after `snapshot_name_template`.

**Identity.** `source-id` is IMAGE_ID@SNAPSHOT_ID, which listings show as extra information, or SNAPSHOT_ID on the
request's volume. Both ids together are the identity: they survive renames of the snapshot and of its image, and RBD
never gives them to another snapshot.

**Sizes** are those of the image at the time of the snapshot, in bytes.

**Refusals.** Only snapshots that users made can be managed. A snapshot that belongs to a group or to mirroring, or is
in the trash because clones need it, can't be renamed. `refusals` has the reasons that hold for every snapshot of an
image, such as format 1, or a mirror that isn't primary. Listings report such snapshots as unsafe, and a manage request
is refused with the same reason. Each image that can't be read, or is being migrated, is one entry of the listing, with
the reason. `scan` defines which failures count as the image's and which as the cluster's.

**In use.** Clones, mappings and writers address a snapshot by its id, so a new name doesn't affect them. No snapshot
is refused for being in use. Only unprotecting fails while a snapshot has clones: see `protection`.

**Renames** are sent with the snapshot's id, so they can't reach another object.

**Late renames.** The cluster may still do a rename that it didn't answer in time; the next attempt then finds it done.
A worker that is suspended before it sends the rename is the general case, described in `snapmanage.drivers.renaming`.
"""

import itertools
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import ClassVar

from oslo_config import cfg

from snapmanage import errors
from snapmanage.core.backend import BackendObject, BackendSnapshot, BackendVolume, Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers import renaming
from snapmanage.drivers.rbd import lookup, protection
from snapmanage.drivers.rbd.cluster import Cluster, Settings
from snapmanage.drivers.rbd.image import OpenImage
from snapmanage.drivers.rbd.names import SnapshotIds, check_name, name_refusal
from snapmanage.drivers.rbd.pool import Pool
from snapmanage.drivers.rbd.scan import scan_snapshots, scan_volumes
from snapmanage.drivers.system import ceph_bindings

LOG = logging.getLogger(__name__)

# An operation waits for this many answers of the cluster at most, and each may take the whole timeout.
CALLS_PER_OPERATION = 9
# A log line names at most this many images whose snapshots can't be managed.
LOGGED_IMAGES = 5


class RbdDriver:
    """Snapshots of RBD images; the module's docstring has the refusals and the effects of late renames."""

    options: ClassVar[Sequence[cfg.Opt]] = [
        cfg.StrOpt("rbd_pool", help="The pool of the images; required. Each pool is a backend of its own."),
        cfg.StrOpt("rbd_namespace", default="", help="The namespace within the pool; empty is the default namespace."),
        cfg.StrOpt(
            "rbd_user",
            default="snapmanage",
            help="The user of the cluster, without 'client.'. ceph.conf names its keyring. The user needs the profile "
            "rbd for the monitors and for the pool.",
        ),
        cfg.StrOpt("rbd_ceph_conf", default="/etc/ceph/ceph.conf", help="The cluster's configuration file."),
        cfg.FloatOpt(
            "rbd_timeout_seconds",
            default=30,
            min=1,
            help="Time limit for one answer of the cluster; an operation needs up to nine answers. Raise it where a "
            "recovering cluster is slow: requests then wait instead of being retried later. Lower it to detect a "
            "hanging cluster sooner.",
        ),
        cfg.IntOpt(
            "rbd_list_workers",
            default=8,
            min=1,
            help="Number of images that a listing reads at once. Raise it to list pools with many images faster; "
            "lower it to reduce the load on the cluster.",
        ),
        cfg.BoolOpt(
            "rbd_protect",
            default=False,
            help="Protect snapshots against removal while they are managed. Unmanaging unprotects each snapshot that "
            "was unprotected before.",
        ),
        cfg.StrOpt(
            "rbd_bindings",
            default=ceph_bindings.FOLDER,
            help="The folder of the modules rados and rbd, for a Python that doesn't find them itself, such as one in "
            "a virtual environment. The modules must be built for that version of Python.",
        ),
    ]

    def __init__(
        self,
        rbd_pool: str | None = None,
        rbd_namespace: str = "",
        rbd_user: str = "snapmanage",
        rbd_ceph_conf: str = "/etc/ceph/ceph.conf",
        rbd_timeout_seconds: float = 30,
        rbd_list_workers: int = 8,
        rbd_protect: bool = False,
        rbd_bindings: str = ceph_bindings.FOLDER,
    ) -> None:
        self._pool_name = rbd_pool or ""
        self._operation_seconds = rbd_timeout_seconds * CALLS_PER_OPERATION
        self._list_workers = rbd_list_workers
        self._protect = rbd_protect
        self._logged_reasons: dict[str | None, str] = {}
        self._cluster = Cluster(
            Settings(self._pool_name, rbd_namespace or "", rbd_user, rbd_ceph_conf, rbd_timeout_seconds, rbd_bindings)
        )

    def close(self) -> None:
        """Disconnect from the cluster; the next call connects again."""
        self._cluster.close()

    def check(self) -> None:
        if not self._pool_name:
            raise errors.ConfigurationError("the option rbd_pool is missing: set it to the pool of the images")
        with self._pool() as pool:
            pool.verify()
            pool.images()

    def storage_id(self) -> str | None:
        return self._cluster.storage_id()

    def list_snapshots(self) -> list[BackendSnapshot]:
        with self._pool() as pool:
            found = scan_snapshots(pool, self._list_workers)
        self._log_unmanageable(found)
        return found

    def list_volumes(self) -> list[BackendVolume]:
        with self._pool() as pool:
            return scan_volumes(pool, self._list_workers)

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        with self._pool() as pool:
            if "source-id" in reference.value:
                return pool.find_id(reference.name("source-id"), volume)
            return pool.find(check_name(reference.name()), volume)

    def find_volume(self, reference: Reference) -> BackendVolume:
        name = check_name(reference.name())
        with self._pool() as pool:
            return pool.find_volume(name)

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        with self._pool() as pool, ThreadPoolExecutor(self._list_workers, "rbd-locate") as readers:
            # In a missing pool or namespace every object would seem to be gone.
            pool.verify()
            return lookup.locate(readers, pool.open_image, pool.readings, identities, names)

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        if reason := name_refusal(name):
            raise errors.ConfigurationError(
                f"{name!r} can't be a snapshot's name: {reason}; change snapshot_name_template"
            )
        return f"{found.parent}@{name}"

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        doing = f"managing {binding.original_name!r}"
        return self._cluster.calls.within(self._operation_seconds, doing, partial(self._manage, binding))

    def unmanage_snapshot(self, binding: Binding) -> None:
        doing = f"unmanaging {binding.original_name!r}"
        self._cluster.calls.within(self._operation_seconds, doing, partial(self._unmanage, binding))

    @contextmanager
    def _pool(self) -> Iterator[Pool]:
        with self._cluster.pool() as ioctx:
            yield Pool(self._cluster, ioctx, self._pool_name, self._protect)

    def _manage(self, binding: Binding) -> BackendSnapshot:
        ids = SnapshotIds.parse(binding.identity)
        with self._pool() as pool:
            open_image = partial(pool.open_image, image_id=ids.image)
            if self._protect:
                with open_image() as image:
                    protection.refuse_unprotectable(image.image)
            managed = renaming.manage(_SnapshotRenamer(open_image), binding)
            if self._protect:
                with open_image(read_only=False) as image:
                    protection.protect(image.image, ids.snapshot, image.short_name(managed))
            return managed

    def _unmanage(self, binding: Binding) -> None:
        ids = SnapshotIds.parse(binding.identity)
        with self._pool() as pool:
            open_image = partial(pool.open_image, image_id=ids.image)
            try:
                renaming.unmanage(_SnapshotRenamer(open_image), binding)
                with open_image(read_only=False) as image:
                    name = image.name_of(ids.snapshot)
                    protection.restore(image.image, ids.snapshot, name, self._cluster.bindings.rbd.ImageBusy)
            except errors.SourceNotFound:
                # The image is gone, and its snapshots with it, unless the whole pool or namespace is missing.
                pool.verify()

    def _log_unmanageable(self, found: Sequence[BackendSnapshot]) -> None:
        """Log, in one line, the images whose snapshots are unknown or have no ids; log again only after a change."""
        reasons = {each.parent: each.unsafe_reason for each in found if not SnapshotIds.matches(each.identity)}
        if reasons and reasons != self._logged_reasons:
            few = "; ".join(f"{name!r}: {why}" for name, why in itertools.islice(reasons.items(), LOGGED_IMAGES))
            LOG.warning(
                "Snapshots of %d images in pool %r can't be managed. The first: %s", len(reasons), self._pool_name, few
            )
        self._logged_reasons = reasons


class _SnapshotRenamer:
    """Finds and renames the snapshots of one image, as a `renaming.Renamer`.

    Each look opens the image again: an image that stays open learns of other processes' renames with a delay.
    """

    def __init__(self, open_image: Callable[..., AbstractContextManager[OpenImage]]) -> None:
        self._open_image = open_image

    def look(self, *names: str) -> dict[str, BackendSnapshot]:
        with self._open_image() as image:
            return image.find_all(*names)

    def rename(self, old: str, new: str) -> None:
        try:
            with self._open_image(read_only=False) as image:
                image.rename(old, new)
        except errors.SourceNotFound as failure:
            # `renaming` looks again, and reports a snapshot as gone only if that look doesn't find it.
            raise errors.Unusable(f"{old!r} can't be renamed, although it is listed: {failure}") from failure
