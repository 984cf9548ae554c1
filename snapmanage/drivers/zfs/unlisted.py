"""Entries in the place of the objects that ZFS can't list, because of damage. No real object has such a name."""

from snapmanage.core.backend import BackendSnapshot, BackendVolume, Unsafe
from snapmanage.drivers.system.failures import on_one_line
from snapmanage.drivers.zfs.report import unreadable_identity


def name_of_snapshots(dataset: str) -> str:
    return f"{dataset}@*"


def name_of_volumes(dataset: str) -> str:
    return f"{dataset}/*"


def snapshots(dataset: str, damage: str) -> BackendSnapshot:
    """Return the entry for the unlisted snapshots within a dataset; `damage` is the message of ZFS."""
    name = name_of_snapshots(dataset)
    identity = unreadable_identity(name)
    return BackendSnapshot(name, identity, 0, None, unsafe=Unsafe.UNUSABLE, unsafe_reason=_reason(damage))


def volumes(dataset: str, damage: str) -> BackendVolume:
    """Return the entry for the unlisted datasets within a dataset; `damage` is the message of ZFS."""
    name = name_of_volumes(dataset)
    return BackendVolume(name, unreadable_identity(name), 0, unsafe=Unsafe.UNUSABLE, unsafe_reason=_reason(damage))


def _reason(damage: str) -> str:
    return f"zfs can't list everything in the dataset, see zpool status -v (zfs reports: {on_one_line(damage)})"
