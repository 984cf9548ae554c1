"""The laboratory of the RBD driver: a new pool in a real cluster."""

import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from snapmanage.drivers.rbd.driver import RbdDriver
from snapmanage.drivers.system import ceph_bindings
from snapmanage.testing.services.storage.ceph import Ceph
from tests.contract.labs.rbd_oddities import Oddities

MIB = 1024**2
TIMEOUT_SECONDS = 2
IMAGES = 10


class RbdLab:
    reports_storage_id = True
    reports_creation_time = True
    lists_volumes = True
    volume = "image-1"
    size_bytes = 8 * MIB
    impossible_names = ("image-1@a\0b", "image-1\0", "\ud800@x")
    legal_characters = "".join(map(chr, range(1, 128))) + "é\U0001f600"
    scan = None

    def __init__(self, ceph: Ceph, cluster: Any, namespace: str = "") -> None:
        self.ceph = ceph
        self.rbd = ceph_bindings.load().rbd
        self.pool = ceph.pool()
        self.drivers: list[RbdDriver] = []
        self.cluster = cluster
        self.ioctx = cluster.open_ioctx(self.pool)
        if namespace:
            self.rbd.RBD().namespace_create(self.ioctx, namespace)
            self.ioctx.set_namespace(namespace)
        self.driver = self.driver_as("admin", rbd_namespace=namespace)
        self.add_volume(self.volume)

    def driver_as(self, user: str, **options: Any) -> RbdDriver:
        """Return a driver for this pool with other options."""
        given: dict[str, Any] = {"rbd_ceph_conf": str(self.ceph.conf), "rbd_timeout_seconds": TIMEOUT_SECONDS}
        self.drivers.append(RbdDriver(self.pool, rbd_user=user, **given | options))
        return self.drivers[-1]

    def name_of(self, word: str) -> str:
        return f"{self.volume}@{word}"

    def add_volume(self, word: str) -> str:
        self.rbd.RBD().create(self.ioctx, word, self.size_bytes)
        return word

    @contextmanager
    def image(self, name: str | None = None) -> Iterator[Any]:
        with self.rbd.Image(self.ioctx, name or self.volume) as image:
            yield image

    def add_snapshot(self, name: str) -> None:
        image_name, _, snapshot = name.partition("@")
        with self.image(image_name) as image:
            image.create_snap(snapshot)

    def add_many(self, count: int) -> None:
        """Add snapshots on a few images: each new snapshot costs more, the more its image has."""
        for number in range(IMAGES):
            image_name = self.add_volume(f"large-{number}")
            self.write_snapshots(image_name, *(f"many-{serial}" for serial in range(count // IMAGES)))

    def write_snapshots(self, image_name: str, *names: str) -> None:
        """Write snapshots directly into an image's header: a normal snapshot takes the monitor 30 ms."""
        # The object `rbd_id.NAME` has the id after four bytes of length; opening the image to read it takes 4 ms.
        header = f"rbd_header.{self.ioctx.read(f'rbd_id.{image_name}')[4:].decode()}"
        for number, name in enumerate(names, 1):
            text = name.encode()
            self.ioctx.execute(header, "rbd", "snapshot_add", struct.pack(f"<I{len(text)}sQ", len(text), text, number))

    def add_unusable(self, word: str) -> str:
        """Take a snapshot of a new group with the volume; return the name of the volume's part of it."""
        self.rbd.RBD().group_create(self.ioctx, word)
        group = self.rbd.Group(self.ioctx, word)
        group.add_image(self.ioctx, self.volume)
        group.create_snap(word)
        with self.image() as image:
            [name] = [snap["name"] for snap in image.list_snaps() if snap["namespace"] == 1]
        return self.name_of(name)

    def add_oddities(self) -> None:
        """Make every odd shape of `rbd_oddities`."""
        self.odd.make_all()

    @property
    def odd(self) -> Oddities:
        return Oddities(self.cluster, self.ioctx)

    def odd_names(self) -> set[str]:
        """Return every snapshot with a UTF-8 name on each image that can be opened."""
        # One image with another name than UTF-8 makes the bindings fail for the whole list.
        command = ["rbd", "--conf", str(self.ceph.conf), "--pool", self.ioctx.name, "ls"]
        shown = subprocess.run(command, capture_output=True, check=True).stdout.splitlines()
        found = set[str]()
        for image in (line.decode(errors="replace") for line in shown):
            with suppress(self.rbd.Error, UnicodeDecodeError):
                found |= {f"{image}@{snapshot}" for snapshot in self._snapshots(image)}
        return found

    def orphan(self, name: str) -> None:
        self.rbd.RBD().trash_move(self.ioctx, name.partition("@")[0])

    def remove(self, name: str) -> None:
        with self.image() as image:
            image.remove_snap(name.partition("@")[2])

    def names(self) -> set[str]:
        """Return the snapshots of images that librbd can read."""
        images = self.rbd.RBD().list(self.ioctx)
        return {f"{name}@{snapshot}" for name in images for snapshot in self._snapshots(name)}

    def go_away(self) -> None:
        self.ceph.freeze_all()

    def come_back(self) -> None:
        """Thaw the cluster and return once it answers: its daemons must find each other again first."""
        self.ceph.thaw_all()
        self.rbd.RBD().list(self.ioctx)

    def _snapshots(self, name: str) -> list[str]:
        with self.image(name) as image:
            return [snap["name"] for snap in image.list_snaps()]


@contextmanager
def rbd_lab(request: pytest.FixtureRequest, namespace: str = "") -> Iterator[RbdLab]:
    ceph: Ceph = request.getfixturevalue("ceph")
    with ceph.connected() as cluster:
        lab = RbdLab(ceph, cluster, namespace)
        try:
            yield lab
        finally:
            ceph.thaw_all()
            for driver in lab.drivers:
                driver.close()
            lab.ioctx.close()
