"""A folder on a btrfs, as root sees it: what subvolumes are in it, renaming one, keeping names on the disk.

`privileged` calls this as root. The folder is trusted to be what it says; what lies in it is not: names
are resolved beneath it, on its own mount, following no symbolic link, and only what is a subvolume is
renamed, within the folder where it is. Errors are those of snapmanage.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager

from snapmanage import errors
from snapmanage.drivers.btrfs import members as btrfs_members
from snapmanage.drivers.btrfs import search, trees
from snapmanage.drivers.btrfs.members import Member
from snapmanage.drivers.system import failures, syscalls
from snapmanage.drivers.system.failures import KnownFailure

LONGEST_NAME = 255


def legal(name: str) -> bool:
    """Whether a subvolume in a folder could have this path."""
    try:
        parts = name.encode().split(b"/")
    except UnicodeEncodeError:
        return False
    return "\0" not in name and all(part not in (b"", b".", b"..") and len(part) <= LONGEST_NAME for part in parts)


def is_text(name: str) -> bool:
    """Whether it can be sent to a process and to the kernel."""
    try:
        return b"\0" not in name.encode()
    except UnicodeEncodeError:
        return False


def members(folder: str, file_system: str, names: Collection[str] = ()) -> list[Member]:
    """The subvolumes in the folder, itself included; with names, whichever of them exists, outside of it too."""
    with _opened(folder, file_system) as fd, _explained(folder):
        found = btrfs_members.read(fd, names)
        if found is None:
            raise errors.BackendUnavailable(f"the folder {folder!r} is gone from its file system")
        return found


def folder_id(folder: str, file_system: str) -> str:
    """Return which folder of which btrfs this is: the file system's UUID, and a digest of the path from its top."""
    with _opened(folder, file_system) as fd, _explained(folder):
        here, _ = trees.read(fd)
        if here is None:
            raise errors.BackendUnavailable(f"the folder {folder!r} is gone from its file system")
        return f"{search.file_system(fd)}/{hashlib.sha256(here).hexdigest()[:32]}"


def located(
    folder: str, file_system: str, identities: Collection[str], names: Collection[str]
) -> list[tuple[str, str]]:
    """Return name and identity of all that has one of the identities or names.

    A subvolume is found anywhere on the file system; outside of the folder its name has a slash in front. Anything
    else that bears one of the names, such as a directory, has its inode's number as its identity.
    """
    with _opened(folder, file_system) as fd, _explained(folder):
        every = btrfs_members.named(fd)
        if every is None:
            raise errors.BackendUnavailable(f"the folder {folder!r} is gone from its file system")
        taken = {name for name, _ in every}
        others = [(name, _inode(fd, name)) for name in names if name not in taken and legal(name)]
    return [
        *(each for each in every if each[0] in names or each[1] in identities),
        *((name, f"inode {inode}") for name, inode in others if inode is not None),
    ]


def rename(folder: str, file_system: str, old: str, new: str) -> None:
    """Rename a subvolume within the folder where it is, never replacing anything."""
    place, old_name = _split(old)
    new_place, new_name = _split(new)
    if place != new_place:
        raise errors.InvalidReference(f"{old!r} can't become {new!r}: a subvolume stays in its folder")
    with _opened(folder, file_system) as fd, _explained(old), _beneath(fd, place) as inner:
        _refuse_other_kinds(inner, old_name)
        syscalls.rename_noreplace(inner, old_name, new_name)


def keep(folder: str, file_system: str, name: str) -> None:
    """Make the names in the folder of `name` outlive a power failure; `SourceNotFound` when that folder is gone."""
    place, _ = _split(name)
    with _opened(folder, file_system) as fd, _explained(place or folder), _beneath(fd, place) as inner:
        os.fsync(inner)


def _split(name: str) -> tuple[str, str]:
    if not legal(name):
        raise errors.InvalidReference(f"no subvolume in a folder can be called {name!r}")
    place, _, last = name.rpartition("/")
    return place, last


def _inode(fd: int, name: str) -> int | None:
    """Return the inode's number of what bears the name; None where nothing does."""
    place, last = _split(name)
    try:
        with _explained(name), _beneath(fd, place) as inner:
            return syscalls.status(inner, last).inode
    except (errors.SourceNotFound, errors.InvalidReference):
        return None


def _refuse_other_kinds(fd: int, name: str) -> None:
    """Ask whether a directory entry is a subvolume: those alone have this inode on a btrfs."""
    found = syscalls.status(fd, name)
    if not stat.S_ISDIR(found.mode) or found.inode != trees.TOP_INODE:
        raise errors.SourceNotFound(f"{name!r} is no subvolume")


@contextmanager
def _opened(folder: str, file_system: str) -> Iterator[int]:
    """Open the folder; `BackendUnavailable` unless it is on a btrfs, and on that one where one is named."""
    if not os.path.isabs(folder) or "\0" in folder:
        raise errors.ConfigurationError(f"the folder {folder!r} must be an absolute path")
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError as failure:
        raise errors.BackendPermission(f"let root read {folder!r}") from failure
    except OSError as failure:
        raise errors.BackendUnavailable(f"can't open the folder {folder!r}: {failure.strerror}") from failure
    try:
        _refuse_other_file_systems(fd, folder, file_system)
        yield fd
    finally:
        os.close(fd)


def _refuse_other_file_systems(fd: int, folder: str, wanted: str) -> None:
    try:
        found = search.file_system(fd)
    except OSError as failure:
        raise errors.BackendUnavailable(f"{folder!r} isn't on a btrfs: see whether it is mounted") from failure
    if wanted not in ("", found):
        raise errors.BackendUnavailable(
            f"{folder!r} is on the btrfs {found}, not on {wanted}: see whether that is mounted"
        )


@contextmanager
def _beneath(fd: int, place: str) -> Iterator[int]:
    inner = syscalls.open_directory_beneath(fd, place) if place else os.dup(fd)
    try:
        yield inner
    finally:
        os.close(inner)


_NOT_PERMITTED = KnownFailure(
    errors.BackendPermission, "root with CAP_SYS_ADMIN alone may not change {}: make root the owner of its folder"
)
_FAILURES = {
    errno.ENOENT: KnownFailure(errors.SourceNotFound, "there is no {} in the folder"),
    errno.ENOTDIR: KnownFailure(errors.SourceNotFound, "{} is in no directory"),
    errno.EEXIST: KnownFailure(errors.NameTaken, "something has the name already that {} should get"),
    errno.ELOOP: KnownFailure(errors.InvalidReference, "{} leads over a symbolic link, which isn't followed"),
    errno.EXDEV: KnownFailure(errors.InvalidReference, "{} leads over another mount; configure a backend for that one"),
    errno.EBUSY: KnownFailure(errors.InUse, "something is mounted on {}; unmount it first"),
    errno.ENAMETOOLONG: KnownFailure(errors.InvalidReference, "{} is longer than a path may be"),
    errno.EACCES: _NOT_PERMITTED,
    errno.EPERM: _NOT_PERMITTED,
    errno.EROFS: KnownFailure(errors.BackendPermission, "{} is on a file system, or in a subvolume, that is read-only"),
}
_OTHER_FAILURE = KnownFailure(errors.BackendUnavailable, "the file system failed on {}")


def _explained(name: str) -> AbstractContextManager[None]:
    """Turn the failure of a system call on `name` into an error of snapmanage."""
    return failures.explained(repr(name), _FAILURES, _OTHER_FAILURE)
