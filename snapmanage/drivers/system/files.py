"""What drivers share whose backend is a directory of files: its names, a file's identity, the system's refusals.

A file's identity is its inode's number together with its birth in nanoseconds: a rename keeps both, and
a file that is given a freed number is born later. Where the file system keeps no birth times (some
network file systems), the number stands alone.
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
# To ask about a file: no link is followed, and neither a fifo nor a lease lets us wait.
TO_ASK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_NOT_PERMITTED = KnownFailure(errors.BackendPermission, "snapmanage may not do this to {}; give it the permission")
_FAILURES = {
    errno.ENOENT: KnownFailure(errors.SourceNotFound, "there is no file {}"),
    errno.EEXIST: KnownFailure(errors.NameTaken, "there is a file {} already; rename it"),
    errno.EACCES: _NOT_PERMITTED,
    errno.EPERM: _NOT_PERMITTED,
    errno.ENAMETOOLONG: KnownFailure(errors.InvalidReference, "{} is longer than a file's name may be"),
}
_OTHER_FAILURE = KnownFailure(errors.BackendUnavailable, "the file system failed on {}")


def legal(name: str) -> bool:
    """Whether a file in the directory can have the name and be seen: hidden files are not."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return bool(name) and not name.startswith(".") and "/" not in name and "\0" not in name


def identity(found: syscalls.FileStatus) -> str:
    return f"{found.inode}-{found.born_ns or 0}"


def status(directory_fd: int, name: str) -> syscalls.FileStatus | None:
    """Describe an entry of an open directory; None where there is none."""
    try:
        with explained(name):
            return syscalls.status(directory_fd, name)
    except errors.SourceNotFound:
        return None


def storage_id(directory: str) -> str | None:
    """Return which directory of which file system this is, on every host that mounts it; None where that isn't known.

    A local file system has an id of its own; one from the network goes by the name under which it is mounted, so
    that hosts which mount it under different names don't find each other.
    """
    with opened(directory) as fd, explained(directory):
        number, itself = os.statvfs(fd).f_fsid, identity(syscalls.opened_status(fd))
        file_system = f"{number:x}" if number else _mounted_from(fd)
    return f"directory:{file_system}/{itself}" if file_system else None


def _mounted_from(fd: int) -> str:
    """The source of the mount, such as `server:/export`, as a digest; empty where that isn't on the network."""
    ours = mounts.mount_of(fd)
    for mount in mounts.mounts():
        if mount.number == ours and b":" in mount.source:
            return hashlib.sha256(mount.source).hexdigest()[:32]
    return ""


def located(directory_fd: int, path: str, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
    """Return every entry of an open directory, of whatever kind, that has one of the identities or names."""
    with explained(path), os.scandir(directory_fd) as entries:
        present = [entry.name for entry in entries]
    described = ((name, status(directory_fd, name)) for name in present)
    every = [BackendObject(name, identity(found)) for name, found in described if found]
    return [each for each in every if each.identity in identities or each.name in names]


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
