"""Ceph RBD: snapshots of the images in one pool and namespace, through librbd.

**References.** `source-name` is IMAGE@SNAPSHOT, or SNAPSHOT on the volume that the request names;
`source-id` is IMAGE_ID@SNAPSHOT_ID, which listings tell as extra information, or SNAPSHOT_ID on that
volume. Both ids together are the identity: they outlive renames of the snapshot and of its image, and are
never given to another.

**What may be managed.** What users made. A snapshot that is part of a group's, belongs to mirroring, or
lies in the trash because clones need it, can't be renamed: listings leave it out, and who names it learns why.

**In use.** Clones, mappings and writers address a snapshot by its id, so none of them minds a new name,
and nothing is refused for being in use. Only unprotecting is: see `rbd_protection`.

**Late renames.** A rename that the cluster didn't answer in time may still be done when it comes back: the
next attempt finds it done. It is sent with the snapshot's id, so that it can't reach another object; a worker
that is stopped before it sends is met by `snapmanage.drivers.renaming`, as everywhere.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import Any, ClassVar

from oslo_config import cfg

from snapmanage import errors
from snapmanage.core.backend import BackendObject, BackendSnapshot, BackendVolume, Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers import rbd_bindings, rbd_located, rbd_names, rbd_protection, renaming
from snapmanage.drivers.deadline import within
from snapmanage.drivers.rbd_cluster import Cluster, Settings
from snapmanage.drivers.rbd_image import OpenImage
from snapmanage.drivers.rbd_names import Ids

# Looking, opening, renaming, looking again, and so on: each may take the whole time-out.
ANSWERS_PER_OPERATION = 6


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
            default=rbd_bindings.FOLDER,
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
        rbd_bindings: str = rbd_bindings.FOLDER,
    ) -> None:
        self._pool = rbd_pool or ""
        self._patience = rbd_timeout_seconds * ANSWERS_PER_OPERATION
        self._list_workers = rbd_list_workers
        self._protect = rbd_protect
        self._cluster = Cluster(
            Settings(self._pool, rbd_namespace or "", rbd_user, rbd_ceph_conf, rbd_timeout_seconds, rbd_bindings)
        )

    def check(self) -> None:
        if not self._pool:
            raise errors.ConfigurationError("the rbd driver needs the option rbd_pool: set it to the images' pool")
        with self._cluster.pool() as pool:
            self._cluster.verify(pool)
            self._images(pool)

    def list_snapshots(self) -> list[BackendSnapshot]:
        with self._cluster.pool() as pool:
            images = self._images(pool)
            if not images:
                self._cluster.verify(pool)
            with ThreadPoolExecutor(self._list_workers, "rbd-list") as readers:
                return [found for each in readers.map(partial(self._snapshots, pool), images) for found in each]

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        with self._cluster.pool() as pool:
            if "source-id" in reference.value:
                return self._find_by_id(pool, reference.name("source-id"), volume)
            return self._find_by_name(pool, rbd_names.checked(reference.name()), volume)

    def find_volume(self, reference: Reference) -> BackendVolume:
        name = rbd_names.checked(reference.name())
        with self._cluster.pool() as pool:
            if volume := self._volume(pool, name):
                return volume
            if self._named(pool, name, None):
                raise errors.NotAVolume(f"{name!r} is a snapshot; name the image that it was taken of")
        raise errors.SourceNotFound(f"pool {self._pool!r} has no image {name!r}")

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        with self._cluster.pool() as pool, ThreadPoolExecutor(self._list_workers, "rbd-locate") as readers:
            # In a pool or a namespace that isn't there, nothing would be found.
            self._cluster.verify(pool)
            return rbd_located.located(readers, partial(self._image, pool), identities, names)

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

    def _manage(self, binding: Binding) -> BackendSnapshot:
        ids = Ids.parse(binding.identity)
        with self._cluster.pool() as pool:
            opened = partial(self._image, pool, image_id=ids.image)
            if self._protect:
                with opened() as image:
                    rbd_protection.refuse_unprotectable(image.image)
            managed = renaming.manage(_Names(opened), binding)
            if self._protect:
                with opened(read_only=False) as image:
                    rbd_protection.protect(image.image, ids.snapshot, image.short_name(managed))
            return managed

    def _unmanage(self, binding: Binding) -> None:
        with self._cluster.pool() as pool:
            try:
                self._give_back(pool, binding)
            except errors.SourceNotFound:
                # Where the image is gone, there is nothing left to give back, provided the namespace is there.
                self._cluster.verify(pool)

    def _give_back(self, pool: Any, binding: Binding) -> None:
        ids = Ids.parse(binding.identity)
        opened = partial(self._image, pool, image_id=ids.image)
        renaming.unmanage(_Names(opened), binding)
        with opened(read_only=False) as image:
            given_back = image.find_id(ids.snapshot)
            name = image.short_name(given_back) if given_back else None
            rbd_protection.restore(image.image, ids.snapshot, name, self._cluster.bindings.rbd.ImageBusy)

    def _find_by_name(self, pool: Any, name: str, volume: str | None) -> BackendSnapshot:
        if found := self._named(pool, name, volume):
            return found
        if self._volume(pool, name):
            raise errors.NotASnapshot(f"{name!r} is an image; name one of its snapshots: {name}@SNAPSHOT")
        raise errors.SourceNotFound(
            f"pool {self._pool!r} has no snapshot {name!r}; a name is IMAGE@SNAPSHOT, or SNAPSHOT on the volume"
        )

    def _find_by_id(self, pool: Any, text: str, volume: str | None) -> BackendSnapshot:
        ids = Ids.parse(text)
        if ids.image is None and volume is None:
            raise errors.InvalidReference(f"source-id {text!r} must be IMAGE_ID@SNAPSHOT_ID where no volume is known")
        which = {"image_id": ids.image} if ids.image else {"name": volume}
        with suppress(errors.SourceNotFound), self._image(pool, **which) as image:
            if found := image.find_id(ids.snapshot):
                return found
        raise errors.SourceNotFound(f"pool {self._pool!r} has no snapshot of the id {text!r}")

    def _named(self, pool: Any, name: str, volume: str | None) -> BackendSnapshot | None:
        for reading in rbd_names.readings(name, volume):
            with suppress(errors.SourceNotFound), self._image(pool, name=reading.image) as image:
                if found := image.find(reading.snapshot):
                    return found
        return None

    def _volume(self, pool: Any, name: str) -> BackendVolume | None:
        with suppress(errors.SourceNotFound), self._image(pool, name=name) as image:
            return image.volume()
        return None

    def _images(self, pool: Any) -> list[str]:
        """The ids of all images."""
        with self._cluster.explained(f"listing the images of pool {self._pool!r}"):
            return [each["id"] for each in self._cluster.bindings.rbd.RBD().list2(pool)]

    def _snapshots(self, pool: Any, image_id: str) -> list[BackendSnapshot]:
        with suppress(errors.SourceNotFound), self._image(pool, image_id=image_id) as image:
            return image.snapshots()
        return []  # the image was removed meanwhile

    @contextmanager
    def _image(self, pool: Any, read_only: bool = True, **which: str | None) -> Iterator[OpenImage]:
        with (
            self._cluster.explained(f"image {next(iter(which.values()))!r}"),
            self._cluster.bindings.rbd.Image(pool, read_only=read_only, **which) as image,
        ):
            yield OpenImage(image)


class _Names:
    """The names of one image's snapshots, as `renaming` wants them.

    The image is opened for each look: who has it open learns of others' renames a moment too late.
    """

    def __init__(self, opened: Callable[..., AbstractContextManager[OpenImage]]) -> None:
        self._opened = opened

    def look(self, *names: str) -> dict[str, BackendSnapshot]:
        with self._opened() as image:
            return image.look(*names)

    def rename(self, old: str, new: str) -> None:
        with self._opened(read_only=False) as image:
            image.rename(old, new)
