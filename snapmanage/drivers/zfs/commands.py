"""The two commands of ZFS that are run, with their arguments checked; as root by way of `privileged`.

Both OpenZFS and zfs-fuse 0.7 understand them.
"""

from collections.abc import Sequence

from snapmanage import errors
from snapmanage.drivers.system import commands
from snapmanage.drivers.system.commands import CompletedCommand
from snapmanage.drivers.zfs import names as zfs_names

PROPERTIES = (
    *("type", "creation", "guid", "createtxg", "objsetid"),
    *("referenced", "volsize", "userrefs", "defer_destroy"),
)
PACKAGE = "zfsutils-linux"


def get(names: Sequence[str], recursive: bool, deadline_seconds: float) -> CompletedCommand:
    """Report `PROPERTIES` of datasets and snapshots, in the order given; of all beneath them too if `recursive`.

    The exit code is 1 when one of them isn't there; the others are reported all the same.
    `InvalidReference` for a name that ZFS doesn't give, `BackendUnavailable`.
    """
    for name in names:
        if not zfs_names.is_dataset(name) and not zfs_names.is_snapshot(name):
            raise errors.InvalidReference(f"ZFS has nothing that could be called {name!r}")
    report = ["-H", "-p", *(["-r"] if recursive else []), "-o", "name,property,value", ",".join(PROPERTIES)]
    return commands.run(["zfs", "get", *report, *names], PACKAGE, deadline_seconds)


def rename(old: str, new: str, deadline_seconds: float) -> CompletedCommand:
    """Rename a snapshot, and nothing else, within its dataset; `InvalidReference`, `BackendUnavailable`."""
    for name in (old, new):
        if not zfs_names.is_snapshot(name):
            raise errors.InvalidReference(f"no snapshot of ZFS can be called {name!r}")
    if zfs_names.dataset_of(old) != zfs_names.dataset_of(new):
        raise errors.InvalidReference(f"{old!r} can't become {new!r}: a snapshot stays in its dataset")
    return commands.run(["zfs", "rename", old, new], PACKAGE, deadline_seconds)
