"""Functions shared by drivers whose backend is a directory of files: names, identities, errors of the system.

The identity of a file is its inode number with its birth time in nanoseconds. A rename changes neither, and a new file
that reuses an inode number has a later birth time. On a file system without birth times, such as some network file
systems, the identity is the inode number alone.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial

from snapmanage import errors
from snapmanage.core.backend import BackendObject
from snapmanage.drivers.system import failures, mounts, permissions, syscalls
from snapmanage.drivers.system.failures import KnownFailure

MAX_NAME_BYTES = 255
# Flags to open a file for examination: follow no link, and wait for no fifo and no lease.
PROBE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_NOT_PERMITTED = KnownFailure(
    errors.BackendPermission, "{user} may not use {!r}: give it the rights to read and write it"
)
# A context that turns an error of a system call on the file of that name into an error of snapmanage.
translated_errors = partial(
    failures.translated_errors,
    known={
        errno.ENOENT: KnownFailure(errors.SourceNotFound, "there is no file {!r}"),
        errno.EEXIST: KnownFailure(errors.NameTaken, "there is already a file {!r}: rename it first"),
        errno.EACCES: _NOT_PERMITTED,
        errno.EPERM: _NOT_PERMITTED,
        errno.ENAMETOOLONG: KnownFailure(errors.InvalidReference, "{!r} is too long for the name of a file"),
    },
    otherwise=KnownFailure(errors.BackendUnavailable, "the file system failed on {!r}"),
)


def is_valid_name(name: str) -> bool:
    """Return whether a visible file of a directory can have the name; a hidden one begins with a dot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return bool(name) and not name.startswith(".") and "/" not in name and "\0" not in name


def open_regular(directory_fd: int, name: str, flags: int = PROBE_FLAGS) -> int | None:
    """Open a regular file of an open directory; return None for any other kind, which is not opened; raise `OSError`.

    Opening a device may have effects, and another program may put one in the place of a file at any moment. So the name
    is resolved first, and the resolved file is opened only if it is regular.
    """
    resolved = os.open(name, os.O_PATH | os.O_CLOEXEC | (flags & os.O_NOFOLLOW), dir_fd=directory_fd)
    try:
        if not stat.S_ISREG(os.fstat(resolved).st_mode):
            return None
        return os.open(f"/proc/self/fd/{resolved}", flags & ~os.O_NOFOLLOW)
    finally:
        os.close(resolved)


def status(directory_fd: int, name: str) -> syscalls.FileStatus | None:
    """Describe an entry of an open directory; None if there is none."""
    try:
        with translated_errors(name):
            return syscalls.status(directory_fd, name)
    except errors.SourceNotFound:
        return None


def status_of_entry(directory_fd: int, name: str) -> syscalls.FileStatus | None:
    """Like `status`, but also None for an entry on which a file system is mounted that can't be examined.

    Any user can mount such a file system with FUSE, on a file or a folder of its own.
    """
    try:
        return status(directory_fd, name)
    except errors.BackendError:
        if syscalls.is_mount_point(directory_fd, name):
            return None
        raise


def identity_of_entry(directory_fd: int, name: str) -> str | None:
    """Return the identity of an entry; empty if `status_of_entry` can't examine it; None if there is no such entry."""
    if found := status_of_entry(directory_fd, name):
        return found.identity
    return "" if syscalls.is_mount_point(directory_fd, name) else None


def storage_id(directory: str) -> str | None:
    """Return an ID of the directory that is the same on every host that mounts it; None if there is none.

    A local file system has an ID of its own. A network file system is identified by the source of its mount, so hosts
    that mount it from different sources, such as two names of one server, get different IDs.
    """
    with opened_directory(directory) as fd, translated_errors(directory):
        number, own_identity = os.statvfs(fd).f_fsid, syscalls.opened_status(fd).identity
        file_system = f"{number:x}" if number else _mounted_from(fd)
    return f"directory:{file_system}/{own_identity}" if file_system else None


def _mounted_from(fd: int) -> str:
    """Return a digest of the source of a network mount, such as `server:/export`; empty for a local file system."""
    number = mounts.mount_of(fd)
    for mount in mounts.mounts():
        if mount.number == number and b":" in mount.source:
            return hashlib.sha256(mount.source).hexdigest()[:32]
    return ""


def locate(directory_fd: int, path: str, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
    """Return every entry of an open directory, of any kind, that has one of the identities or names.

    The identity of an entry that can't be examined is empty.
    """
    with translated_errors(path), os.scandir(directory_fd) as entries:
        present = [entry.name for entry in entries]
    described = ((name, identity_of_entry(directory_fd, name)) for name in present)
    objects = [BackendObject(name, identity) for name, identity in described if identity is not None]
    return [each for each in objects if each.identity in identities or each.name in names]


def path_of(fd: int) -> str:
    """Return the path of an open directory, as the system knows it now."""
    return os.readlink(f"/proc/self/fd/{fd}")


@contextmanager
def opened_directory(directory: str) -> Iterator[int]:
    """Open the directory; raise `BackendUnavailable`."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError as failure:
        raise errors.BackendPermission(
            f"{permissions.user()} can't open the directory {directory!r}: give it the right to read that one, and the "
            f"right to enter the directories above it ({permissions.system_error(failure)})"
        ) from failure
    except OSError as failure:
        raise errors.BackendUnavailable(
            f"can't open the directory {directory!r}: {failure.strerror}; check that it exists and is mounted"
        ) from failure
    try:
        yield fd
    finally:
        os.close(fd)
