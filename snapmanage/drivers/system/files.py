"""Helpers for drivers whose backend is a directory of files: names, identities, errors.

The identity of a file is the number of its inode together with its birth time in nanoseconds. A rename keeps both, and
a file that gets a freed number is born later. Where the file system has no birth times (some network file systems),
the identity is the number alone.
"""

import errno
import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager

from snapmanage import errors
from snapmanage.core.backend import BackendObject
from snapmanage.drivers.system import failures, mounts, syscalls
from snapmanage.drivers.system.failures import KnownFailure

LONGEST_NAME = 255
# Flags to open a file only to examine it: no link is followed, and neither a fifo nor a lease makes the call wait.
EXAMINE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_NOT_PERMITTED = KnownFailure(errors.BackendPermission, "snapmanage lacks the permission for {}: grant it")
_FAILURES = {
    errno.ENOENT: KnownFailure(errors.SourceNotFound, "there is no file {}; list the backend again"),
    errno.EEXIST: KnownFailure(errors.NameTaken, "there is a file {} already; rename it"),
    errno.EACCES: _NOT_PERMITTED,
    errno.EPERM: _NOT_PERMITTED,
    errno.ENAMETOOLONG: KnownFailure(errors.InvalidReference, "{} is longer than a file's name may be"),
}
_OTHER_FAILURE = KnownFailure(errors.BackendUnavailable, "the file system failed on {}")


def legal(name: str) -> bool:
    """Return whether a file in the directory can have this name. Hidden files don't count as part of a backend."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return bool(name) and not name.startswith(".") and "/" not in name and "\0" not in name


def identity(found: syscalls.FileStatus) -> str:
    return f"{found.inode}-{found.born_ns or 0}"


def status(directory_fd: int, name: str) -> syscalls.FileStatus | None:
    """Return the status of an entry of an open directory; None where it doesn't exist."""
    try:
        with explained(name):
            return syscalls.status(directory_fd, name)
    except errors.SourceNotFound:
        return None


def storage_id(directory: str) -> str | None:
    """Return the identity of the directory on every host that mounts it; None where it has none.

    A local file system has an id. A network file system is identified by the name under which it is mounted, so hosts
    that mount it under different names have different identities.
    """
    with opened(directory) as fd, explained(directory):
        number, directory_identity = os.statvfs(fd).f_fsid, identity(syscalls.opened_status(fd))
        file_system = f"{number:x}" if number else _network_source(fd)
    return f"directory:{file_system}/{directory_identity}" if file_system else None


def _network_source(fd: int) -> str:
    """Return a digest of the source of a network mount, such as `server:/export`; empty for other mounts."""
    ours = mounts.mount_of(fd)
    for mount in mounts.mounts():
        if mount.number == ours and b":" in mount.source:
            return hashlib.sha256(mount.source).hexdigest()[:32]
    return ""


def locate(directory_fd: int, path: str, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
    """Return every entry of an open directory, of any kind, that has one of the identities or names."""
    with explained(path), os.scandir(directory_fd) as entries:
        present = [entry.name for entry in entries]
    statuses = ((name, status(directory_fd, name)) for name in present)
    objects = [BackendObject(name, identity(found)) for name, found in statuses if found]
    return [each for each in objects if each.identity in identities or each.name in names]


@contextmanager
def opened(directory: str) -> Iterator[int]:
    """Open the directory; `BackendUnavailable`."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as failure:
        raise errors.BackendUnavailable(f"can't open the directory {directory!r}: {failure.strerror}") from failure
    try:
        yield fd
    finally:
        os.close(fd)


def explained(name: str) -> AbstractContextManager[None]:
    """Turn the failure of a system call on the file `name` into an error of snapmanage."""
    return failures.explained(repr(name), _FAILURES, _OTHER_FAILURE)
