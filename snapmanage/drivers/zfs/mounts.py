"""Mounted datasets and snapshots of ZFS, and the devices of its volumes, found without the command `zfs`."""

from collections.abc import Iterable
from pathlib import Path

from snapmanage.drivers.system.mounts import Mount
from snapmanage.drivers.zfs.names import is_dataset_name, is_within

DEVICES = Path("/dev/zvol")


def mounted_snapshots(mounts: Iterable[Mount]) -> dict[str, str]:
    """Return the mount point of each snapshot that is mounted, by the snapshot's name.

    Mounts beneath `.zfs/snapshot` are left out: ZFS makes and removes them by itself.
    """
    return {
        mount.source.decode(errors="replace"): mount.point.decode(errors="replace")
        for mount in mounts
        if mount.kind == "zfs" and b"/.zfs/snapshot/" not in mount.point
    }


def visible_datasets(mounts: Iterable[Mount], within: str) -> list[str]:
    """Return the datasets within another dataset that are mounted or have a device, in the order of their names."""
    mounted = (mount.source.decode(errors="replace") for mount in mounts)
    # Partitions have links too, called NAME-part1; ZFS reports that those don't exist.
    links = (str(link.relative_to(DEVICES)) for link in (DEVICES / within).rglob("*") if link.is_symlink())
    return sorted({name for name in (*mounted, *links) if is_dataset_name(name) and is_within(name, within)})
