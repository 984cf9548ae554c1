"""Ceph RBD: snapshots of the images in one pool and namespace, through librbd.

**References.** `source-name` is IMAGE@SNAPSHOT, or SNAPSHOT on the volume that the request names;
`source-id` is IMAGE_ID@SNAPSHOT_ID, which listings tell as extra information, or SNAPSHOT_ID on that
volume. Both ids together are the identity: they outlive renames of the snapshot and of its image, and are
never given to another.

**What may be managed.** What users made. A snapshot that is part of a group's, belongs to mirroring, or
lies in the trash because clones need it, can't be renamed. `refusals` has the reasons that hold for every
snapshot of an image, such as format 1, a mirror that isn't primary, or a migration. Listings report such snapshots
as unsafe, and a manage request is refused with the same reason.

**Images that can't be read** are an entry of the listing each, with the reason. `scan` says where one image's
failure ends and the cluster's begins.

**In use.** Clones, mappings and writers address a snapshot by its id, so none of them minds a new name,
and nothing is refused for being in use. Only unprotecting is: see `protection`.

**Late renames.** A rename that the cluster didn't answer in time may still be done when it comes back: the
next attempt finds it done. It is sent with the snapshot's id, so that it can't reach another object; a worker
that is stopped before it sends is met by `snapmanage.drivers.renaming`, as everywhere.
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
from snapmanage.drivers.rbd import names as rbd_names
from snapmanage.drivers.rbd.cluster import Cluster, Settings
from snapmanage.drivers.rbd.image import OpenImage
from snapmanage.drivers.rbd.names import Ids
from snapmanage.drivers.rbd.pool import Pool
from snapmanage.drivers.rbd.scan import Scan
from snapmanage.drivers.system import ceph_bindings
from snapmanage.drivers.system.deadline import within

LOG = logging.getLogger(__name__)

# Looking, opening, renaming, looking again, and so on: each may take the whole time-out.
ANSWERS_PER_OPERATION = 6
# A log line names at most so many images whose snapshots can't be managed.
LOGGED_IMAGES = 5


class RbdDriver:
    """Snapshots of RBD images; see the module for what may be managed and what a late rename does."""

    options: ClassVar[Sequence[cfg.Opt]] = [
        cfg.StrOpt("rbd_pool", help="The pool of the images, required. Each pool is a backend of its own."),
        cfg.StrOpt("rbd_namespace", default="", help="The namespace within the pool; empty is the unnamed one."),
        cfg.StrOpt(
            "rbd_user",
            default="snapmanage",
            help="The user of the cluster, without 'client.'; its keyring is where ceph.conf says. It needs the "
            "profile rbd for the monitors and for the pool.",
        ),
        cfg.StrOpt("rbd_ceph_conf", default="/etc/ceph/ceph.conf", help="The cluster's configuration file."),
        cfg.FloatOpt(
            "rbd_timeout_seconds",
            default=30,
            min=1,
            help="How long the cluster may take for one answer; an operation needs a few of them. Raise it where "
            "a recovering cluster is slow: requests then wait instead of being tried again later. Lower it to "
            "learn of a hanging cluster sooner.",
        ),
        cfg.IntOpt(
            "rbd_list_workers",
            default=8,
            min=1,
            help="Images that are read at once for a listing. Raise it to list pools with many images faster; "
            "lower it to burden the cluster less.",
        ),
        cfg.BoolOpt(
            "rbd_protect",
            default=False,
            help="Protect snapshots from being removed while they are managed. Those that were unprotected are "
            "unprotected again when they are given back.",
        ),
        cfg.StrOpt(
            "rbd_bindings",
            default=ceph_bindings.FOLDER,
            help="The folder of the modules rados and rbd, for a Python that doesn't find them by itself, as one of "
            "a virtual environment. It must be of the version that they are built for.",
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
        self._patience = rbd_timeout_seconds * ANSWERS_PER_OPERATION
        self._list_workers = rbd_list_workers
        self._protect = rbd_protect
        self._left_out: dict[str | None, str] = {}
        self._cluster = Cluster(
            Settings(self._pool_name, rbd_namespace or "", rbd_user, rbd_ceph_conf, rbd_timeout_seconds, rbd_bindings)
        )

    def check(self) -> None:
        if not self._pool_name:
            raise errors.ConfigurationError("the rbd driver needs the option rbd_pool: set it to the images' pool")
        with self._pool() as pool:
            pool.verify()
            pool.images()

    def storage_id(self) -> str | None:
        return self._cluster.storage_id()

    def list_snapshots(self) -> list[BackendSnapshot]:
        with self._pool() as pool:
            found = Scan(pool, self._list_workers).snapshots()
        self._log_left_out(found)
        return found

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        with self._pool() as pool:
            if "source-id" in reference.value:
                return pool.find_id(reference.name("source-id"), volume)
            return pool.find(rbd_names.checked(reference.name()), volume)

    def find_volume(self, reference: Reference) -> BackendVolume:
        name = rbd_names.checked(reference.name())
        with self._pool() as pool:
            return pool.find_volume(name)

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        with self._pool() as pool, ThreadPoolExecutor(self._list_workers, "rbd-locate") as readers:
            # In a pool or a namespace that isn't there, nothing would be found.
            pool.verify()
            return lookup.located(readers, pool.image, identities, names)

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        if reason := rbd_names.refusal(name):
            raise errors.ConfigurationError(f"{name!r} can't be a name: {reason}; change snapshot_name_template")
        return f"{found.parent}@{name}"

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        doing = f"managing {binding.original_name!r}"
        return within(self._patience, doing, partial(self._manage, binding))

    def unmanage_snapshot(self, binding: Binding) -> None:
        doing = f"giving back {binding.original_name!r}"
        within(self._patience, doing, partial(self._unmanage, binding))

    @contextmanager
    def _pool(self) -> Iterator[Pool]:
        with self._cluster.pool() as ioctx:
            yield Pool(self._cluster, ioctx, self._pool_name, self._protect)

    def _manage(self, binding: Binding) -> BackendSnapshot:
        ids = Ids.parse(binding.identity)
        with self._pool() as pool:
            opened = partial(pool.image, image_id=ids.image)
            if self._protect:
                with opened() as image:
                    protection.refuse_unprotectable(image.image)
            managed = renaming.manage(_Renamer(opened), binding)
            if self._protect:
                with opened(read_only=False) as image:
                    protection.protect(image.image, ids.snapshot, image.short_name(managed))
            return managed

    def _unmanage(self, binding: Binding) -> None:
        ids = Ids.parse(binding.identity)
        with self._pool() as pool:
            opened = partial(pool.image, image_id=ids.image)
            try:
                renaming.unmanage(_Renamer(opened), binding)
                with opened(read_only=False) as image:
                    name = image.name_of(ids.snapshot)
                    protection.restore(image.image, ids.snapshot, name, self._cluster.bindings.rbd.ImageBusy)
            except errors.SourceNotFound:
                # Where the image is gone, there is nothing left to give back, provided the namespace is there.
                pool.verify()

    def _log_left_out(self, found: Sequence[BackendSnapshot]) -> None:
        """Log which images' snapshots can't be managed or aren't known, in one line and only when that changes."""
        reasons = {each.parent: each.unsafe_reason for each in found if not Ids.are(each.identity)}
        if reasons and reasons != self._left_out:
            few = "; ".join(f"{name!r}: {why}" for name, why in itertools.islice(reasons.items(), LOGGED_IMAGES))
            LOG.warning("Snapshots of %d images in pool %r can't be managed. %s", len(reasons), self._pool_name, few)
        self._left_out = reasons


class _Renamer:
    """The names of one image's snapshots, as `renaming` wants them.

    The image is opened for each look: who has it open learns of others' renames a moment too late.
    """

    def __init__(self, opened: Callable[..., AbstractContextManager[OpenImage]]) -> None:
        self._opened = opened

    def look(self, *names: str) -> dict[str, BackendSnapshot]:
        with self._opened() as image:
            return image.look(*names)

    def rename(self, old: str, new: str) -> None:
        try:
            with self._opened(read_only=False) as image:
                image.rename(old, new)
        except errors.SourceNotFound as failure:
            # `renaming` looks again, and only what isn't there any more counts as gone.
            raise errors.Unusable(f"{old!r} can't be renamed, though it is listed: {failure}") from failure
