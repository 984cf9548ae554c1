"""Entry points of ZFS that run as root: the commands `zfs get` and `zfs rename`."""

from collections.abc import Sequence

from snapmanage.drivers.system import boundary, privsep
from snapmanage.drivers.system.commands import CompletedCommand
from snapmanage.drivers.zfs import commands
from snapmanage.drivers.zfs.names import containers, pool_of


@privsep.context.entrypoint
def zfs_get(names: Sequence[str], recursive: bool, deadline_seconds: float) -> CompletedCommand:
    """Run `zfs.commands.get` on names in the pools of allowed datasets: a dataset may have been renamed."""
    for name in names:
        boundary.current().require_pool(pool_of(name))
    return commands.get(names, recursive, deadline_seconds)


@privsep.context.entrypoint
def zfs_rename(old: str, new: str, deadline_seconds: float) -> CompletedCommand:
    """Run `zfs.commands.rename` on a snapshot within an allowed dataset."""
    boundary.current().require(boundary.ZFS_DATASET, *containers(old))
    return commands.rename(old, new, deadline_seconds)
