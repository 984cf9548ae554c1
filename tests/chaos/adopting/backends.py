"""Backends full of snapshots that no control plane knows: a folder of files, and a pool of RBD images."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from snapmanage.drivers.system import ceph_bindings
from snapmanage.testing.services.storage.ceph import Ceph

MIB = 1024**2


@dataclass(frozen=True)
class Size:
    """The numbers of a backend: its volumes, and its snapshots."""

    volumes: int
    snapshots: int

    @property
    def each(self) -> int:
        """Return the number of snapshots of one volume."""
        return self.snapshots // self.volumes


class Backend(Protocol):
    name: str
    options: str

    def lay_out(self, size: Size) -> None: ...

    def identities(self) -> Mapping[str, Any]:
        """Return the identity of each object by its name."""


class Files:
    """A folder for the driver `file`; inodes identify the files."""

    name = "files"

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.options = f"driver = file\ndirectory = {folder}"

    def lay_out(self, size: Size) -> None:
        for volume in range(size.volumes):
            disk = self._folder / f"disk{volume:02}.img"
            for path in (disk, *(Path(f"{disk}@daily-{number:04}") for number in range(size.each))):
                path.write_bytes(b"data")

    def identities(self) -> Mapping[str, Any]:
        return {path.name: path.stat().st_ino for path in self._folder.iterdir()}


class Images:
    """A pool for the driver `rbd`; the ids of image and snapshot identify the snapshots."""

    name = "images"

    def __init__(self, ceph: Ceph, cluster: Any) -> None:
        pool = ceph.pool()
        self._rbd = ceph_bindings.load().rbd
        self._ioctx = cluster.open_ioctx(pool)
        self.options = f"driver = rbd\nrbd_pool = {pool}\nrbd_user = admin\nrbd_ceph_conf = {ceph.conf}"

    def close(self) -> None:
        self._ioctx.close()

    def lay_out(self, size: Size) -> None:
        for volume in range(size.volumes):
            self._rbd.RBD().create(self._ioctx, f"image{volume:02}", MIB)
            with self._rbd.Image(self._ioctx, f"image{volume:02}") as image:
                for number in range(size.each):
                    image.create_snap(f"daily-{number:04}")

    def identities(self) -> Mapping[str, Any]:
        found: dict[str, Any] = {}
        for name in self._rbd.RBD().list(self._ioctx):
            with self._rbd.Image(self._ioctx, name, read_only=True) as image:
                found |= {f"{name}@{snap['name']}": (image.id(), snap["id"]) for snap in image.list_snaps()}
        return found
