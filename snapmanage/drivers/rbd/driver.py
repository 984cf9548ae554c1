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

**Renames** are sent with the snapshot's id, so they can't reach another object. Right before each, its name is read
from the image's header, by that id. The OSD refuses a name that another snapshot has.

**Batches.** The operations on one image open it once before their renames and once after them. `rbd_list_workers`
images are worked on at once. An image that can't be read, or doesn't answer, fails its own operations only.

**Late renames.** The cluster may still do a rename that it didn't answer in time; the next attempt then finds it done.
A worker that is suspended before it sends the rename is the general case, described in `snapmanage.drivers.renaming`:
it can give a snapshot the name that was recorded for this snapshot, and change no other one.
"""

import itertools
import logging
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import ClassVar, TypeVar

from oslo_config import cfg

from snapmanage import errors
from snapmanage.core.backend import BackendObject, BackendSnapshot, BackendVolume, Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers.batch import Asked, raise_or_return
from snapmanage.drivers.rbd import batches, lookup
from snapmanage.drivers.rbd.caching_pool import CachingPool
from snapmanage.drivers.rbd.cluster import Cluster, Settings
from snapmanage.drivers.rbd.names import SnapshotIds, name_refusal
from snapmanage.drivers.rbd.pool import Pool
from snapmanage.drivers.rbd.scan import scan_snapshots, scan_volumes
from snapmanage.drivers.system import ceph_bindings

E = TypeVar("E", bound=Hashable)
R = TypeVar("R")
LOG = logging.getLogger(__name__)

# An operation waits for this many answers of the cluster at most, and each may take the whole timeout.
CALLS_PER_OPERATION = 9
# A log line names at most this many images whose snapshots can't be managed.
LOGGED_IMAGES = 5


class RbdDriver:
    """Snapshots of RBD images; the module's docstring has the refusals and the effects of late renames."""

    # A batch works on several images at once by itself. The second call is for operations that arrive meanwhile.
    batch_calls: ClassVar[int] = 2
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
            help="Number of images that a listing, or a batch of operations, opens at once. Raise it to be faster in "
            "pools with many images; lower it to reduce the load on the cluster.",
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
        [result] = self.find_snapshots([Asked(reference, volume)])
        return raise_or_return(result)

    def find_volume(self, reference: Reference) -> BackendVolume:
        [result] = self.find_volumes([reference])
        return raise_or_return(result)

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
        [result] = self.manage_snapshots([binding])
        return raise_or_return(result)

    def unmanage_snapshot(self, binding: Binding) -> None:
        [result] = self.unmanage_snapshots([binding])
        raise_or_return(result)

    def find_snapshots(self, asked: Sequence[Asked]) -> list[BackendSnapshot | errors.SnapmanageError]:
        return self._for_each_image(asked, batches.image_of_asked, self._find)

    def find_volumes(self, references: Sequence[Reference]) -> list[BackendVolume | errors.SnapmanageError]:
        return self._for_each_image(references, batches.image_of_volume, self._find_volumes)

    def manage_snapshots(self, bindings: Sequence[Binding]) -> list[BackendSnapshot | errors.SnapmanageError]:
        return self._for_each_image(bindings, batches.image_of_binding, self._manage)

    def unmanage_snapshots(self, bindings: Sequence[Binding]) -> list[errors.SnapmanageError | None]:
        return self._for_each_image(bindings, batches.image_of_binding, self._unmanage)

    @contextmanager
    def _pool(self) -> Iterator[Pool]:
        with self._cluster.pool() as ioctx:
            yield Pool(self._cluster, ioctx, self._pool_name, self._protect)

    @contextmanager
    def _caching_pool(self) -> Iterator[CachingPool]:
        with self._cluster.pool() as ioctx, CachingPool(self._cluster, ioctx, self._pool_name, self._protect) as pool:
            yield pool

    def _for_each_image(
        self, entries: Sequence[E], image_of: Callable[[E], str], act: Callable[[Sequence[E]], list[R]]
    ) -> list[R | errors.SnapmanageError]:
        """Act on the entries of each image; the entries of an image fail if the cluster hangs in one of them."""

        def act_in_time(image: str, of_image: Sequence[E]) -> list[R]:
            doing = f"the work on {len(of_image)} objects of the image {image!r}"
            return self._cluster.calls.within_each(self._operation_seconds, doing, partial(act, of_image))

        return batches.for_each_image(self._list_workers, entries, image_of, act_in_time)

    def _find(self, asked: Sequence[Asked]) -> list[BackendSnapshot | errors.SnapmanageError]:
        with self._caching_pool() as pool:
            return batches.find(pool, asked)

    def _find_volumes(self, references: Sequence[Reference]) -> list[BackendVolume | errors.SnapmanageError]:
        with self._caching_pool() as pool:
            return batches.find_volumes(pool, references)

    def _manage(self, bindings: Sequence[Binding]) -> list[BackendSnapshot | errors.SnapmanageError]:
        with self._pool() as pool:
            return batches.manage(pool, bindings, self._protect)

    def _unmanage(self, bindings: Sequence[Binding]) -> list[errors.SnapmanageError | None]:
        with self._pool() as pool:
            return batches.unmanage(pool, bindings)

    def _log_unmanageable(self, found: Sequence[BackendSnapshot]) -> None:
        """Log, in one line, the images whose snapshots are unknown or have no ids; log again only after a change."""
        reasons = {each.parent: each.unsafe_reason for each in found if not SnapshotIds.matches(each.identity)}
        if reasons and reasons != self._logged_reasons:
            few = "; ".join(f"{name!r}: {why}" for name, why in itertools.islice(reasons.items(), LOGGED_IMAGES))
            LOG.warning(
                "Snapshots of %d images in pool %r can't be managed. The first: %s", len(reasons), self._pool_name, few
            )
        self._logged_reasons = reasons
