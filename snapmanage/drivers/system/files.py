"""What drivers share whose backend is a directory of files: its names, a file's identity, the system's refusals.

A file's identity is its inode's number together with its birth in nanoseconds: a rename keeps both, and
a file that is given a freed number is born later. Where the file system keeps no birth times (some
network file systems), the number stands alone.
"""

import errno
import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from snapmanage import errors
from snapmanage.core.backend import BackendObject
from snapmanage.drivers.system import mounts, syscalls

MAX_NAME_BYTES = 255
# To ask about a file: no link is followed, and neither a fifo nor a lease lets us wait.
PROBE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def is_valid_name(name: str) -> bool:
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
        with translated_errors(name):
            return syscalls.status(directory_fd, name)
    except errors.SourceNotFound:
        return None


def storage_id(directory: str) -> str | None:
    """Return which directory of which file system this is, on every host that mounts it; None where that isn't known.

    A local file system has an id of its own; one from the network goes by the name under which it is mounted, so
    that hosts which mount it under different names don't find each other.
    """
    with opened_directory(directory) as fd, translated_errors(directory):
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


def locate(directory_fd: int, path: str, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
    """Return every entry of an open directory, of whatever kind, that has one of the identities or names."""
    with translated_errors(path), os.scandir(directory_fd) as entries:
        present = [entry.name for entry in entries]
    described = ((name, status(directory_fd, name)) for name in present)
    every = [BackendObject(name, identity(found)) for name, found in described if found]
    return [each for each in every if each.identity in identities or each.name in names]


@contextmanager
def opened_directory(directory: str) -> Iterator[int]:
    """Open the directory; `BackendUnavailable`."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as failure:
        raise errors.BackendUnavailable(f"can't open the directory {directory!r}: {failure.strerror}") from failure
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def translated_errors(name: str) -> Iterator[None]:
    """Turn what the system says of `name` into an error of snapmanage."""
    try:
        yield
    except FileNotFoundError as failure:
        raise errors.SourceNotFound(f"there is no file {name!r}") from failure
    except FileExistsError as failure:
        raise errors.NameTaken(f"there is a file {name!r} already") from failure
    except PermissionError as failure:
        raise errors.BackendPermission(f"snapmanage may not do this to {name!r}; give it the right to") from failure
    except OSError as failure:
        if failure.errno == errno.ENAMETOOLONG:
            raise errors.InvalidReference(f"{name!r} is longer than a file's name may be") from failure
        raise errors.BackendUnavailable(f"the file system failed on {name!r}: {failure.strerror}") from failure
