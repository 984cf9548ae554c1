"""Entry points of ZFS that run as root: the commands `zfs get` and `zfs rename`."""

from collections.abc import Sequence

from snapmanage.drivers.system import privsep
from snapmanage.drivers.system.commands import CompletedCommand
from snapmanage.drivers.zfs import commands


@privsep.context.entrypoint
def zfs_get(names: Sequence[str], recursive: bool, deadline_seconds: float) -> CompletedCommand:
    """Run `zfs.commands.get`."""
    return commands.get(names, recursive, deadline_seconds)


@privsep.context.entrypoint
def zfs_rename(old: str, new: str, deadline_seconds: float) -> CompletedCommand:
    """Run `zfs.commands.rename`."""
    return commands.rename(old, new, deadline_seconds)
