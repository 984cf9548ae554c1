"""What of ZFS this host shows without asking `zfs`: mounts, and the devices of volumes."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from snapmanage.drivers.system import mounts
from snapmanage.drivers.zfs import names

DEVICES = Path("/dev/zvol")


def snapshots(known: Iterable[mounts.Mount]) -> dict[str, str]:
    """Where snapshots are mounted by somebody's wish; what appears beneath `.zfs/snapshot` goes away by itself."""
    return {
        mount.source.decode(errors="replace"): mount.point.decode(errors="replace")
        for mount in known
        if mount.kind == "zfs" and b"/.zfs/snapshot/" not in mount.point
    }


def datasets(known: Iterable[mounts.Mount], within: str) -> list[str]:
    """Return the datasets within another one that are mounted or have a device, in order."""
    mounted = (mount.source.decode(errors="replace") for mount in known)
    return sorted({name for name in (*mounted, *_volumes(within)) if _is_dataset(name, within)})


def _is_dataset(name: str, within: str) -> bool:
    return names.is_dataset(name) and names.is_within(name, within)


def _volumes(within: str) -> Iterator[str]:
    # Partitions have links too, called NAME-part1; ZFS says of those that they aren't there.
    return (str(link.relative_to(DEVICES)) for link in (DEVICES / within).rglob("*") if link.is_symlink())
