"""The laboratories of LVM: on metadata alone, or on the disk of a guest with a kernel of its own."""

import os
import string
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from snapmanage.drivers.lvm import privileged
from snapmanage.drivers.lvm.driver import LvmDriver
from snapmanage.drivers.system import privsep
from snapmanage.testing.lab import Lab
from snapmanage.testing.needs import require
from snapmanage.testing.services.lvm_metadata import EXTENT_BYTES, MetadataGroup, metadata_group
from tests.services.guests import uml_guest
from tests.services.storage import lvm_oddities
from tests.services.storage.lvm_operator import lvm

IMPOSSIBLE_NAMES = ("a/b", "-x", "a b", "..", "x" * 128, "snapshot1", "é", 'x" || lv_name=~".*')
LEGAL_CHARACTERS = string.ascii_letters + string.digits + "+_.-"
MIB = 1024**2


class LvmMetadataLab:
    """LVM without device-mapper: thick or thin snapshots that can't be opened."""

    reports_storage_id = True
    reports_creation_time = True
    lists_volumes = True
    impossible_names = IMPOSSIBLE_NAMES
    legal_characters = LEGAL_CHARACTERS
    scan = (privileged, "lvs")

    def __init__(self, group: MetadataGroup, thin: bool) -> None:
        self.group = group
        self.thin = thin
        self.size_bytes = (8 if thin else 2) * EXTENT_BYTES
        self.driver = LvmDriver(group.name, str(group.system_dir), 30)
        self._furniture = set[str]()
        if thin:
            group.add_pool()
            self._furniture.add("pool")
        self.volume = self.add_volume("thin-volume" if thin else "thick-volume")

    def name_of(self, word: str) -> str:
        return word

    def add_volume(self, word: str) -> str:
        add = self.group.add_thin_volumes if self.thin else self.group.add_volumes
        add(word)
        self._furniture.add(word)
        return word

    def add_snapshot(self, name: str) -> None:
        self._add_snapshots(name)

    def add_many(self, count: int) -> None:
        self._add_snapshots(*(f"many-{number}" for number in range(count)))

    def add_oddities(self) -> None:
        """Make every odd shape of LVM beside the volume; see `lvm_oddities`."""
        if not self.thin:
            self.group.add_pool()
        self._furniture |= {"pool", *lvm_oddities.add_all(self.group)}

    def orphan(self, name: str) -> None:
        if self.thin:
            self.group.lvm("lvchange", "--setactivationskip", "n", f"{self.group.name}/{name}")
            self.group.remove_thin(self.volume)
        else:
            self.group.lvm("lvconvert", "--yes", "--splitsnapshot", f"{self.group.name}/{name}")

    def remove(self, name: str) -> None:
        if self.thin:
            self.group.remove_thin(name)
        else:
            self.group.lvm("lvremove", "--yes", f"{self.group.name}/{name}")

    def names(self) -> set[str]:
        return self.group.names() - self._furniture

    def go_away(self) -> None:
        self.group.lvm("vgrename", self.group.name, "another-group")

    def come_back(self) -> None:
        self.group.lvm("vgrename", "another-group", self.group.name)

    def _add_snapshots(self, *names: str) -> None:
        add = self.group.add_thin_snapshots if self.thin else self.group.add_thick_snapshots
        add(self.volume, *names)


class LvmKernelLab:
    """LVM on the disk of a guest that has device-mapper: everything is real, data included.

    Making a group takes seconds there, so all laboratories share one. Each first removes the leftovers of the last.
    """

    reports_storage_id = True
    reports_creation_time = True
    lists_volumes = True
    impossible_names = IMPOSSIBLE_NAMES
    legal_characters = LEGAL_CHARACTERS
    group = "test-group"
    renamed_group = "another-group"
    furniture: ClassVar[dict[str, list[str]]] = {
        "pool": ["--type", "thin-pool", "--size", "64m"],
        "thin-volume": ["--thinpool", "pool", "--virtualsize", "16m"],
        "thick-volume": ["--wipesignatures", "n", "--size", "16m"],
    }

    def __init__(self, thin: bool) -> None:
        self.thin = thin
        self.volume = "thin-volume" if thin else "thick-volume"
        self.size_bytes = 16 * MIB
        self.driver = LvmDriver(self.group, uml_guest.LVM_SYSTEM_DIR, 60)
        self._tidy()

    def name_of(self, word: str) -> str:
        return word

    def add_volume(self, word: str) -> str:
        # Both kinds of laboratory have both volumes, so the volume of the other kind is one more.
        return "thick-volume" if self.thin else "thin-volume"

    def add_snapshot(self, name: str, store: str = "8m") -> None:
        size = [] if self.thin else ["--size", store]
        lvm("lvcreate", "--snapshot", *size, "--name", name, f"{self.group}/{self.volume}")

    def overflow(self) -> None:
        """Overwrite more of the volume than a small snapshot has room for."""
        with self.device(self.volume).open("wb", buffering=0) as device:
            device.write(b"new" * (3 * MIB))

    def remove(self, name: str) -> None:
        lvm("lvremove", "--yes", f"{self.group}/{name}")

    def names(self) -> set[str]:
        return {name for _, name in self._volumes()} - self.furniture.keys()

    def device(self, name: str) -> Path:
        """Activate a volume or a snapshot and return its block device."""
        lvm("lvchange", "--yes", "--activate", "y", "--ignoreactivationskip", f"{self.group}/{name}")
        return Path("/dev", self.group, name)

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        with self.device(name).open("rb"):
            yield

    def go_away(self) -> None:
        lvm("vgrename", self.group, self.renamed_group)

    def come_back(self) -> None:
        lvm("vgrename", self.renamed_group, self.group)

    def _tidy(self) -> None:
        found = self._volumes()
        if not found:
            lvm("vgcreate", "--yes", self.group, uml_guest.DISK)
        elif self.renamed_group in {group for group, _ in found}:
            self.come_back()
        there = {name for _, name in found}
        if leftover := there - self.furniture.keys():
            lvm("lvremove", "--yes", *(f"{self.group}/{name}" for name in leftover))
        for name in [name for name in self.furniture if name not in there]:
            lvm("lvcreate", "--yes", *self.furniture[name], "--name", name, self.group)

    def _volumes(self) -> list[tuple[str, str]]:
        """Return the group and the name of each visible volume and snapshot."""
        report = lvm("lvs", "--noheadings", "-o", "vg_name,lv_name").split()
        volumes = zip(report[::2], report[1::2], strict=True)
        # After it has deactivated a volume, a process of lvm2 also lists hidden volumes, in brackets.
        return [(group, name) for group, name in volumes if not name.startswith("[")]


class ThickLvmKernelLab(LvmKernelLab):
    def add_unusable(self, word: str) -> str:
        self.add_snapshot(word, store="4m")
        self.overflow()
        return word


def in_guest() -> bool:
    """Return whether this process runs in a guest of User Mode Linux, whose whole disk is for the tests."""
    return os.environ.get("SNAPMANAGE_IN_GUEST") == "true"


@contextmanager
def lvm_lab(thin: bool, folder: Path) -> Iterator[Lab]:
    """Yield a laboratory: with device-mapper in a guest, elsewhere on metadata alone."""
    privsep.start()
    if in_guest():
        yield LvmKernelLab(thin) if thin else ThickLvmKernelLab(thin)
        return
    require("lvs", "losetup", root=True)
    with metadata_group(folder) as group:
        yield LvmMetadataLab(group, thin)
