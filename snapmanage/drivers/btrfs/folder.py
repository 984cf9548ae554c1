"""A folder on a btrfs, for root: its subvolumes, a rename, and writing names to the disk.

`privileged` calls this module as root. `boundary` decides about the path of the folder. Nothing in the folder is
trusted: names are resolved beneath the folder, on its own mount, without symbolic links. Only subvolumes are renamed,
within their own folder. Every error is one of snapmanage.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from snapmanage import errors
from snapmanage.drivers.btrfs import lookup, members, paths, search, trees
from snapmanage.drivers.btrfs.paths import is_valid_path
from snapmanage.drivers.btrfs.view import Member
from snapmanage.drivers.system import boundary, failures, syscalls
from snapmanage.drivers.system.failures import KnownFailure

_ROOT_ONLY = KnownFailure(
    errors.BackendPermission,
    "snapmanage's helper, root with CAP_SYS_ADMIN alone, can't change {!r}: make root the owner of its folder",
)
# A context that turns an error of a system call on the object of that name into an error of snapmanage.
_translated_errors = partial(
    failures.translated_errors,
    known={
        errno.ENOENT: KnownFailure(errors.SourceNotFound, "there is no {!r} in the folder"),
        errno.ENOTDIR: KnownFailure(errors.SourceNotFound, "a part of the path {!r} is not a directory"),
        errno.EEXIST: KnownFailure(errors.NameTaken, "the new name of {!r} is taken; rename the other object"),
        errno.ELOOP: KnownFailure(errors.InvalidReference, "{!r} leads over a symbolic link; name the path without it"),
        errno.EXDEV: KnownFailure(
            errors.InvalidReference, "{!r} leads over another mount; configure a backend for that one"
        ),
        errno.EBUSY: KnownFailure(errors.InUse, "something is mounted on {!r}; unmount it first"),
        errno.ENAMETOOLONG: KnownFailure(errors.InvalidReference, "{!r} is longer than a path may be"),
        errno.EACCES: _ROOT_ONLY,
        errno.EPERM: _ROOT_ONLY,
        errno.EROFS: KnownFailure(
            errors.BackendPermission,
            "{!r} is on a read-only file system, or in a read-only subvolume; make it writable",
        ),
    },
    otherwise=KnownFailure(errors.BackendUnavailable, "the file system failed on {!r}"),
)


def snapshots(folder: str, file_system: str) -> list[Member]:
    """Return the snapshots in the folder."""
    with _opened(folder, file_system) as fd, _translated_errors(folder):
        found = members.read(fd)
        if found is None:
            raise _removed(folder)
        return found


def look_up(folder: str, file_system: str, names: Sequence[str]) -> tuple[list[Member], list[str]]:
    """Return the subvolumes of these names, and the undecided names, as `members.look_up` describes."""
    with _opened(folder, file_system) as fd, _translated_errors(folder):
        return members.look_up(fd, names)


def search_for(folder: str, file_system: str, names: Collection[str]) -> list[Member]:
    """Return the subvolumes of these names, from a search of all; a name may lie outside of the folder."""
    with _opened(folder, file_system) as fd, _translated_errors(folder):
        found = members.search_for(fd, names)
        if found is None:
            raise _removed(folder)
        return found


def volumes(folder: str, file_system: str) -> list[Member]:
    """Return the volumes in the folder, and those outside of it that snapshots in the folder were made from."""
    with _opened(folder, file_system) as fd, _translated_errors(folder):
        found = members.read_volumes(fd)
        if found is None:
            raise _removed(folder)
        return found


def folder_id(folder: str, file_system: str) -> str:
    """Return the identity of the folder: the file system's UUID, and a digest of the folder's path from the top."""
    with _opened(folder, file_system) as fd, _translated_errors(folder):
        here, _ = trees.read(fd)
        if here is None:
            raise _removed(folder)
        return f"{search.file_system(fd)}/{hashlib.sha256(here).hexdigest()[:32]}"


def locate(folder: str, file_system: str, identities: Collection[str], names: Collection[str]) -> list[tuple[str, str]]:
    """Return name and identity of every object that has one of the identities or names.

    Subvolumes are found anywhere on the file system; the name of one outside of the folder begins with a slash. An
    object of another kind with one of the names, such as a directory, has the number of its inode as its identity.
    """
    with _opened(folder, file_system) as fd, _translated_errors(folder):
        known = members.names_and_identities(fd)
        if known is None:
            raise _removed(folder)
        taken = {name for name, _ in known}
        others = [(name, _inode(fd, name)) for name in names if name not in taken and is_valid_path(name)]
    return [
        *(each for each in known if each[0] in names or each[1] in identities),
        *((name, f"inode {inode}") for name, inode in others if inode is not None),
    ]


def rename(folder: str, file_system: str, old: str, new: str, identity: str | None = None) -> None:
    """Rename a subvolume within its folder, never replacing another object; with `identity`, no other subvolume."""
    place, old_name = _split(old)
    new_place, new_name = _split(new)
    if place != new_place:
        raise errors.InvalidReference(f"{old!r} can't become {new!r}: a subvolume stays in its folder")
    with _opened(folder, file_system) as fd, _translated_errors(old), _opened_beneath(fd, place) as inner:
        found = syscalls.status(inner, old_name)
        # On a btrfs, only the top of a subvolume has this inode.
        if not stat.S_ISDIR(found.mode) or found.inode != paths.TOP_INODE:
            raise errors.SourceNotFound(f"{old!r} is not a subvolume; list the backend again")
        if identity is not None and lookup.identity(inner, old_name) != identity:
            raise errors.SourceNotFound(f"{old!r} belongs to another subvolume by now; list the backend again")
        syscalls.rename_noreplace(inner, old_name, new_name)


def sync(folder: str, file_system: str, name: str) -> None:
    """Write the names in the folder of `name` to the disk; raise `SourceNotFound` if that folder is gone."""
    place, _ = _split(name)
    with _opened(folder, file_system) as fd, _translated_errors(place or folder), _opened_beneath(fd, place) as inner:
        os.fsync(inner)


def _split(name: str) -> tuple[str, str]:
    """Return the path of the folder that has `name`, and the last part of `name`."""
    if not is_valid_path(name):
        raise errors.InvalidReference(f"a folder can't have a subvolume named {name!r}")
    place, _, last = name.rpartition("/")
    return place, last


def _inode(fd: int, name: str) -> int | None:
    """Return the number of the inode with this name; None where there is no such name."""
    place, last = _split(name)
    try:
        with _translated_errors(name), _opened_beneath(fd, place) as inner:
            return syscalls.status(inner, last).inode
    except (errors.SourceNotFound, errors.InvalidReference):
        return None


@contextmanager
def _opened(folder: str, file_system: str) -> Iterator[int]:
    """Open the folder; raise `BackendUnavailable` unless it is on a btrfs: on `file_system`, if that isn't empty."""
    if not os.path.isabs(folder) or "\0" in folder:
        raise errors.ConfigurationError(f"the folder {folder!r} must be an absolute path")
    try:
        fd = boundary.current().open_folder(folder)
    except PermissionError as failure:
        raise errors.BackendPermission(
            f"snapmanage's helper can't open the folder {folder!r} ({failure}): let root own the folders above it, "
            "and root alone change them; let root read the folder"
        ) from failure
    except OSError as failure:
        raise errors.BackendUnavailable(f"can't open the folder {folder!r}: {failure.strerror}") from failure
    try:
        _refuse_other_file_systems(fd, folder, file_system)
        yield fd
    finally:
        os.close(fd)


def _refuse_other_file_systems(fd: int, folder: str, required: str) -> None:
    try:
        found = search.file_system(fd)
    except OSError as failure:
        raise errors.BackendUnavailable(f"{folder!r} isn't on a btrfs: see whether it is mounted") from failure
    if required not in ("", found):
        raise errors.BackendUnavailable(
            f"{folder!r} is on the btrfs {found}, not on {required}: see whether that one is mounted"
        )


@contextmanager
def _opened_beneath(fd: int, place: str) -> Iterator[int]:
    inner = syscalls.open_directory_beneath(fd, place) if place else os.dup(fd)
    try:
        yield inner
    finally:
        os.close(inner)


def _removed(folder: str) -> errors.BackendUnavailable:
    return errors.BackendUnavailable(f"the folder {folder!r} was removed from its file system; make it again")
