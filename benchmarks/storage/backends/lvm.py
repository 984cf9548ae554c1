"""Thick snapshots of one volume, in the metadata of a real volume group; the raw loop runs `lvrename` for each."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.storage.backends.backend import Backend, Vendor, alone, serial_names
from snapmanage.drivers.protocol import Section
from snapmanage.testing.needs import require
from snapmanage.testing.services.lvm_metadata import metadata_group

VOLUME = "disk"
VENDOR = "cinder.volume.drivers.lvm.LVMVolumeDriver"


@contextmanager
def made(folder: Path, count: int) -> Iterator[Backend]:
    require("lvs", "losetup", root=True)
    with metadata_group(folder, "bench-group") as group:
        group.add_volumes(VOLUME)
        names = serial_names(count)
        group.add_thick_snapshots(VOLUME, *names)

        def rename(old: str, new: str) -> None:
            group.lvm("lvrename", group.name, old, new)

        section = f"driver = lvm\nvolume_group = {group.name}\nlvm_system_dir = {group.system_dir}"
        yield Backend(section, {VOLUME: names}, alone(rename), "raw-{}".format, vendor=_vendor(group.name, folder))


def _vendor(group: str, system_dir: Path) -> Vendor:
    """Return Cinder's driver; no volume is exported, so the target is a fake. Its renames read the environment only."""
    values = {"volume_group": [group], "lvm_type": ["default"], "target_helper": ["fake"]}
    section = Section("lvm-of-cinder", values, "snapshot-%s")
    return Vendor(VENDOR, section, {"LVM_SYSTEM_DIR": str(system_dir)})
