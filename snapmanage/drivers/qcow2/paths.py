"""Where paths of records lead: they are followed, as QEMU would, to see which file is there. Nothing is opened.

A path may lead to a file server that hangs. So each is given a few seconds; after one that took longer, none is
followed for a minute, and where they lead isn't known meanwhile.
"""

import time
from dataclasses import dataclass, field

from snapmanage import errors
from snapmanage.drivers.system import syscalls
from snapmanage.drivers.system.deadline import within

TIMEOUT_SECONDS = 5.0
_PAUSE_SECONDS = 60


@dataclass(frozen=True)
class Target:
    """The file at the end of a path: `file` is None where there is none, or where it isn't `known`."""

    file: syscalls.FileStatus | None = None
    resolved: bool = True


class PathResolver:
    """Follows paths from directories, for any number of threads."""

    def __init__(self, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._timeout_seconds = timeout_seconds
        self._paused_until = 0.0

    def resolve(self, directory_fd: int, path: str) -> Target:
        """Follow a path, which starts at the directory unless it is absolute."""
        if time.monotonic() < self._paused_until:
            return Target(resolved=False)
        try:
            return within(self._timeout_seconds, "looking for a backing file", lambda: _followed(directory_fd, path))
        except errors.BackendUnavailable:
            self._paused_until = time.monotonic() + _PAUSE_SECONDS
            return Target(resolved=False)


@dataclass
class DirectoryPaths:
    """PathResolver from one open directory, each followed once."""

    fd: int
    paths: PathResolver
    _seen: dict[str, Target] = field(default_factory=dict)

    def resolve(self, path: str) -> Target:
        if path not in self._seen:
            self._seen[path] = self.paths.resolve(self.fd, path)
        return self._seen[path]


def same_file(one: syscalls.FileStatus, other: syscalls.FileStatus) -> bool:
    """Whether two looks may have seen one file, perhaps through two mounts.

    A network file system has a device number of its own, without a major one, and the server's inode numbers.
    """
    if one.inode != other.inode:
        return False
    if one.device == other.device:
        return True
    virtual = one.device[0] == 0 or other.device[0] == 0
    return virtual and (one.size_bytes, one.modified_ns) == (other.size_bytes, other.modified_ns)


def _followed(directory_fd: int, path: str) -> Target:
    try:
        return Target(syscalls.target_status(directory_fd, path))
    except OSError as failure:
        # Elsewhere it may lead somewhere; where we aren't let in, it does already.
        return Target(resolved=failure.errno in syscalls.LEADS_NOWHERE)
