"""Laboratories of the vendor drivers for LVM and Ceph on real backends; they represent all vendor drivers.

A vendor driver starts in a second, so all tests share one of each, and every laboratory first empties the group or the
pool. The driver for LVM lists thin snapshots as volumes, so the laboratory makes thick ones only.
"""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from snapmanage.core.backend import GIB
from snapmanage.drivers.cinder.driver import CinderDriver
from snapmanage.drivers.protocol import Driver, Section
from snapmanage.drivers.system import ceph_bindings
from snapmanage.testing.needs import require
from snapmanage.testing.services.lvm_metadata import MetadataGroup, metadata_group
from snapmanage.testing.services.storage.ceph import Ceph
from tests.contract.labs.lvm import LEGAL_CHARACTERS
from tests.contract.labs.rbd import RbdLab
from tests.contract.labs.rbd_oddities import NOT_UTF8

LVM_DRIVER = "cinder.volume.drivers.lvm.LVMVolumeDriver"
RBD_DRIVER = "cinder.volume.drivers.rbd.RBDDriver"
GROUP = "cinder-group"
RENAMED_GROUP = "another-cinder-group"
TEMPLATE = "snapshot-%s"

# These names never reach the vendor driver: snapmanage only compares references with its listing.
IMPOSSIBLE_NAMES = ("a\0b", "\ud800", "x" * 16385)


class CinderLvmLab:
    """Volumes of two extents, which Cinder rounds up to one GiB."""

    reports_storage_id = False
    reports_creation_time = False
    lists_volumes = True
    volume = "thick-volume"
    size_bytes = GIB
    impossible_names = IMPOSSIBLE_NAMES
    legal_characters = LEGAL_CHARACTERS

    def __init__(self, group: MetadataGroup, driver: CinderDriver) -> None:
        self.group = group
        self.driver: Driver = driver
        self.process = driver.process
        self._volumes = set[str]()
        if group.name not in group.lvm("vgs", "--noheadings", "-o", "vg_name").split():
            self.come_back()
        group.clear()
        self.add_volume(self.volume)

    def name_of(self, word: str) -> str:
        return word

    def add_volume(self, word: str) -> str:
        self.group.add_volumes(word)
        self._volumes.add(word)
        return word

    def add_snapshot(self, name: str) -> None:
        self.group.add_thick_snapshots(self.volume, name)

    def add_oddities(self) -> None:
        self.group.add_thick_snapshots(self.add_volume("odd-volume"), "odd-daily", "odd-split", "odd.snapshot")
        self.orphan("odd-split")

    def orphan(self, name: str) -> None:
        """Split the snapshot off its volume: its store becomes a volume."""
        self.group.lvm("lvconvert", "--yes", "--splitsnapshot", f"{self.group.name}/{name}")

    def remove(self, name: str) -> None:
        self.group.lvm("lvremove", "--yes", f"{self.group.name}/{name}")

    def names(self) -> set[str]:
        return self.group.names() - self._volumes

    def go_away(self) -> None:
        self.group.lvm("vgrename", self.group.name, RENAMED_GROUP)

    def come_back(self) -> None:
        self.group.lvm("vgrename", RENAMED_GROUP, self.group.name)


class CinderRbdLab(RbdLab):
    """Images of one GiB, Cinder's unit of sizes."""

    reports_storage_id = False
    reports_creation_time = False
    lists_volumes = True
    add_unusable: ClassVar[Any] = None
    size_bytes = GIB
    impossible_names = IMPOSSIBLE_NAMES

    def __init__(self, ceph: Ceph, cluster: Any, ioctx: Any, driver: CinderDriver) -> None:
        self.ceph = ceph
        self.cluster = cluster
        self.rbd = ceph_bindings.load().rbd
        self.ioctx = ioctx
        self.driver: Any = driver
        self._clear()
        self.add_volume(self.volume)

    def add_oddities(self) -> None:
        """Make snapshots of a group, of another image, of one in the trash, and of the target of a migration.

        `tests/contract/cinder/test_ceph.py` makes every other shape of an image, once.
        """
        self.odd.migrating("odd-migrating")
        self.add_group_snapshot("odd-group")
        for image in ("odd-image", "odd-trashed"):
            self.add_snapshot(f"{self.add_volume(image)}@daily")
        self.orphan("odd-trashed@daily")

    def add_group_snapshot(self, word: str) -> str:
        """Make a snapshot of a group, which the vendor driver lists as safe; return its name."""
        return super().add_unusable(word)

    def orphan(self, name: str) -> None:
        """Move the image to the trash, with its snapshots."""
        self.rbd.RBD().trash_move(self.ioctx, name.partition("@")[0])

    def remove(self, name: str) -> None:
        volume, _, snapshot = name.partition("@")
        with self.image(volume) as image:
            if image.is_protected_snap(snapshot):
                image.unprotect_snap(snapshot)
            image.remove_snap(snapshot)

    def _clear(self) -> None:
        """Remove every object of the pool, including those that librbd can't read."""
        # The bindings can't list an object whose name isn't UTF-8.
        with suppress(self.rbd.ImageNotFound):
            self.rbd.RBD().remove(self.ioctx, NOT_UTF8)
        for each in list(self.ioctx.list_objects()):
            self.ioctx.remove_object(each.key)


def lvm_section(group: MetadataGroup) -> Section:
    """Return an operator's section for the vendor driver for LVM; no volume is exported, so the target is a fake."""
    values = {"volume_group": [group.name], "lvm_type": ["default"], "target_helper": ["fake"]}
    return Section("lvm-of-cinder", values, TEMPLATE)


@contextmanager
def cinder_lvm(folder: Path) -> Iterator[tuple[MetadataGroup, CinderDriver]]:
    """Yield a group and the vendor driver for it; its renames read lvm2's folder from the environment only."""
    require("lvs", "losetup", root=True)
    with metadata_group(folder, GROUP) as group, pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "LVM_SYSTEM_DIR", str(group.system_dir))
        with closing(CinderDriver(LVM_DRIVER, "", 60, lvm_section(group))) as driver:
            yield group, driver


@contextmanager
def cinder_rbd(ceph: Ceph) -> Iterator[tuple[Ceph, str, CinderDriver]]:
    """Yield a cluster, a pool of it, and the vendor driver for that pool."""
    pool = ceph.pool()
    values = {
        "rbd_pool": pool,
        "rbd_user": "admin",
        "rbd_ceph_conf": str(ceph.conf),
        "rados_connect_timeout": "1",
        "rados_connection_retries": "1",
    }
    section = Section("rbd-of-cinder", {key: [value] for key, value in values.items()}, TEMPLATE)
    with closing(CinderDriver(RBD_DRIVER, "", 60, section)) as driver:
        yield ceph, pool, driver


@contextmanager
def cinder_rbd_lab(ceph: Ceph, pool: str, driver: CinderDriver) -> Iterator[CinderRbdLab]:
    """Yield a laboratory with a new connection: other tests freeze the cluster and restart its OSD in between."""
    with ceph.connected() as cluster, closing(cluster.open_ioctx(pool)) as ioctx:
        try:
            yield CinderRbdLab(ceph, cluster, ioctx, driver)
        finally:
            ceph.thaw_all()
