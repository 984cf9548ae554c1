"""Entry points of btrfs that run as root: reading the trees of a file system, and renaming."""

from collections.abc import Sequence

from snapmanage.drivers.btrfs import folder
from snapmanage.drivers.system import privsep


@privsep.context.entrypoint
def snapshots(path: str, file_system: str) -> list[tuple[object, ...]]:
    """Return the fields of each `Member` that `btrfs.folder.snapshots` returns."""
    return [tuple(member) for member in folder.snapshots(path, file_system)]


@privsep.context.entrypoint
def look_up(path: str, file_system: str, names: Sequence[str]) -> tuple[list[tuple[object, ...]], list[str]]:
    """Return the fields of each `Member`, and the undecided names, that `btrfs.folder.look_up` returns."""
    found, undecided = folder.look_up(path, file_system, names)
    return [tuple(member) for member in found], undecided


@privsep.context.entrypoint
def search_for(path: str, file_system: str, names: Sequence[str]) -> list[tuple[object, ...]]:
    """Return the fields of each `Member` that `btrfs.folder.search_for` returns."""
    return [tuple(member) for member in folder.search_for(path, file_system, frozenset(names))]


@privsep.context.entrypoint
def volumes(path: str, file_system: str) -> list[tuple[object, ...]]:
    """Return the fields of each `Member` that `btrfs.folder.volumes` returns."""
    return [tuple(member) for member in folder.volumes(path, file_system)]


@privsep.context.entrypoint
def folder_id(path: str, file_system: str) -> str:
    """Run `btrfs.folder.folder_id`."""
    return folder.folder_id(path, file_system)


@privsep.context.entrypoint
def locate(path: str, file_system: str, identities: Sequence[str], names: Sequence[str]) -> list[tuple[str, str]]:
    """Run `btrfs.folder.locate`."""
    return folder.locate(path, file_system, frozenset(identities), frozenset(names))


@privsep.context.entrypoint
def rename_subvolume(path: str, file_system: str, old: str, new: str, identity: str | None = None) -> None:
    """Run `btrfs.folder.rename`."""
    folder.rename(path, file_system, old, new, identity)


@privsep.context.entrypoint
def sync_names(path: str, file_system: str, name: str) -> None:
    """Run `btrfs.folder.sync`."""
    folder.sync(path, file_system, name)
