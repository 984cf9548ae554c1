"""Snapshots of ten images in a pool of a real cluster; the raw loop opens each image once and renames in it."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.storage.backends.backend import Backend, Rename, Vendor, behind, serial_names
from snapmanage.drivers.protocol import Section
from snapmanage.drivers.system import ceph_bindings
from snapmanage.testing.services.process import running
from snapmanage.testing.services.storage import ceph as service

IMAGES = 10
IMAGE_BYTES = 1024**3
VENDOR = "cinder.volume.drivers.rbd.RBDDriver"


@contextmanager
def made(folder: Path, count: int) -> Iterator[Backend]:
    service.require()
    with running(service.Ceph) as ceph, ceph.connected() as cluster:
        pool = ceph.pool()
        with closing(cluster.open_ioctx(pool)) as ioctx:
            snapshots = {}
            for number in range(IMAGES):
                words = serial_names(count)[number::IMAGES]
                snapshots[f"image-{number}"] = [f"image-{number}@{word}" for word in words]
                _add_image(ioctx, f"image-{number}", words)
            section = f"driver = rbd\nrbd_pool = {pool}\nrbd_user = admin\nrbd_ceph_conf = {ceph.conf}"
            given = {name: names for name, names in snapshots.items() if names}
            yield Backend(section, given, partial(_renaming, ioctx), behind("@"), vendor=_vendor(pool, ceph.conf))


def _add_image(ioctx: Any, name: str, words: list[str]) -> None:
    rbd = ceph_bindings.load().rbd
    rbd.RBD().create(ioctx, name, IMAGE_BYTES)
    with rbd.Image(ioctx, name) as image:
        for word in words:
            image.create_snap(word)


@contextmanager
def _renaming(ioctx: Any) -> Iterator[Rename]:
    """Yield a rename that keeps the images open."""
    images: dict[str, Any] = {}
    with ExitStack() as opened:

        def rename(old: str, new: str) -> None:
            name, _, snapshot = old.partition("@")
            if name not in images:
                images[name] = opened.enter_context(ceph_bindings.load().rbd.Image(ioctx, name))
            images[name].rename_snap(snapshot, new.partition("@")[2])

        yield rename


def _vendor(pool: str, conf: Path) -> Vendor:
    values = {"rbd_pool": [pool], "rbd_user": ["admin"], "rbd_ceph_conf": [str(conf)]}
    return Vendor(VENDOR, Section("rbd-of-cinder", values, "snapshot-%s"))
