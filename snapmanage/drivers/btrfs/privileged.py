"""What needs root on a btrfs: reading its trees, and renaming."""

from collections.abc import Sequence
from dataclasses import astuple

from snapmanage.drivers.btrfs import folder as btrfs_folder
from snapmanage.drivers.system import privsep


@privsep.context.entrypoint
def subvolumes(folder: str, file_system: str, names: Sequence[str]) -> list[tuple[object, ...]]:
    """The fields of each `Member` of a folder on a btrfs; see `btrfs.folder.members`."""
    return [astuple(member) for member in btrfs_folder.members(folder, file_system, frozenset(names))]


@privsep.context.entrypoint
def folder_id(folder: str, file_system: str) -> str:
    """See `btrfs.folder.folder_id`."""
    return btrfs_folder.folder_id(folder, file_system)


@privsep.context.entrypoint
def located_subvolumes(
    folder: str, file_system: str, identities: Sequence[str], names: Sequence[str]
) -> list[tuple[str, str]]:
    """See `btrfs.folder.located`."""
    return btrfs_folder.located(folder, file_system, frozenset(identities), frozenset(names))


@privsep.context.entrypoint
def rename_subvolume(folder: str, file_system: str, old: str, new: str) -> None:
    """See `btrfs.folder.rename`."""
    btrfs_folder.rename(folder, file_system, old, new)


@privsep.context.entrypoint
def keep_names(folder: str, file_system: str, name: str) -> None:
    """See `btrfs.folder.keep`."""
    btrfs_folder.keep(folder, file_system, name)
