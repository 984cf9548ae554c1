"""The commands `zfs get` and `zfs rename`, with checked arguments.

Both OpenZFS and zfs-fuse 0.7 have them. `privileged` runs them as root.
"""

from collections.abc import Sequence

from snapmanage import errors
from snapmanage.drivers.system import commands
from snapmanage.drivers.system.commands import CompletedCommand
from snapmanage.drivers.zfs.names import dataset_of, is_dataset_name, is_snapshot_name, pool_of

PROPERTIES = (
    *("type", "creation", "guid", "createtxg", "objsetid"),
    *("referenced", "volsize", "userrefs", "defer_destroy"),
)
PACKAGE = "zfsutils-linux"


def get(names: Sequence[str], recursive: bool, deadline_seconds: float) -> CompletedCommand:
    """Report `PROPERTIES` of datasets and snapshots, in the order given; if `recursive`, also of everything beneath.

    The exit code is 1 if one of them doesn't exist; the others are reported nevertheless.
    Raise `InvalidReference` for a name that ZFS can't have, and without a name, since `zfs get` would then report
    every pool. Raise `BackendUnavailable`.
    """
    if not names:
        raise errors.InvalidReference("no dataset is named: name those to report")
    for name in names:
        if not is_dataset_name(name) and not is_snapshot_name(name):
            raise errors.InvalidReference(f"ZFS can't have an object named {name!r}")
    report = ["-H", "-p", *(["-r"] if recursive else []), "-o", "name,property,value", ",".join(PROPERTIES)]
    return commands.run(["zfs", "get", *report, *names], PACKAGE, deadline_seconds, storage=pool_of(names[0]))


def rename(old: str, new: str, deadline_seconds: float) -> CompletedCommand:
    """Rename a snapshot, and no other kind of object, within its dataset.

    Raise `InvalidReference` for a name that ZFS can't have, and `BackendUnavailable`.
    """
    for name in (old, new):
        if not is_snapshot_name(name):
            raise errors.InvalidReference(f"ZFS can't have a snapshot named {name!r}: a snapshot is DATASET@NAME")
    if dataset_of(old) != dataset_of(new):
        raise errors.InvalidReference(f"{old!r} can't become {new!r}: a snapshot stays in its dataset")
    return commands.run(["zfs", "rename", old, new], PACKAGE, deadline_seconds, storage=pool_of(old))
