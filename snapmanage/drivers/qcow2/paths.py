"""Targets of the paths that images record, followed as QEMU would follow them. Nothing is opened.

A path may lead to a file server that hangs. So following a path has a time limit of a few seconds. After one path
exceeds it, no path is followed for a minute, and their targets count as unknown.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from snapmanage import errors
from snapmanage.drivers.system import syscalls
from snapmanage.drivers.system.deadline import BoundedCalls

T = TypeVar("T")

TIMEOUT_SECONDS = 5.0
_PAUSE_SECONDS = 60


@dataclass(frozen=True)
class Target:
    """The file at the end of a path; `file` is None if there is none, or if the path couldn't be `resolved`."""

    file: syscalls.FileStatus | None = None
    resolved: bool = True


class PathResolver:
    """Follows paths; safe to share between threads."""

    def __init__(self, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._timeout_seconds = timeout_seconds
        self._calls = BoundedCalls()
        self._paused_until = 0.0

    def resolve(self, directory_fd: int, path: str) -> Target:
        """Follow a path; a relative one starts at the directory."""
        try:
            return self.within("looking for a backing file", partial(_follow, directory_fd, path))
        except errors.BackendUnavailable:
            return Target(resolved=False)

    def within(self, action: str, call: Callable[[], T]) -> T:
        """Return the result of a call that follows a path; raise `BackendUnavailable` if one hangs, or hung lately."""
        if time.monotonic() < self._paused_until:
            raise errors.BackendUnavailable(f"{action} was not tried, since the storage behind a path or link hangs")
        try:
            return self._calls.within(self._timeout_seconds, action, call)
        except errors.BackendUnavailable:
            self._paused_until = time.monotonic() + _PAUSE_SECONDS
            raise


@dataclass
class CachedResolver:
    """Follows paths from one open directory, each path once."""

    fd: int
    resolver: PathResolver
    _targets: dict[str, Target] = field(default_factory=dict)

    def resolve(self, path: str) -> Target:
        if path not in self._targets:
            self._targets[path] = self.resolver.resolve(self.fd, path)
        return self._targets[path]


def same_file(one: syscalls.FileStatus, other: syscalls.FileStatus) -> bool:
    """Return whether both may be the status of one file, perhaps seen through two mounts.

    A network file system has its own device number, with major number 0, and the inode numbers of the server.
    """
    if one.inode != other.inode:
        return False
    if one.device == other.device:
        return True
    virtual = one.device[0] == 0 or other.device[0] == 0
    return virtual and (one.size_bytes, one.modified_ns) == (other.size_bytes, other.modified_ns)


def _follow(directory_fd: int, path: str) -> Target:
    try:
        return Target(syscalls.target_status(directory_fd, path))
    except OSError as failure:
        # Any other error, such as a refused permission, leaves open which file is there.
        return Target(resolved=failure.errno in syscalls.LEADS_NOWHERE)
