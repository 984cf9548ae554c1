"""Targets of the paths that images record, followed as QEMU would follow them. Nothing is opened.

A path may lead to a file server that hangs. So following a path has a time limit of a few seconds. After one path
exceeds it, no path is followed for a minute, and their targets count as unknown.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from snapmanage import errors
from snapmanage.drivers.system import syscalls
from snapmanage.drivers.system.deadline import BoundedCalls

T = TypeVar("T")

TIMEOUT_SECONDS = 5.0
_PAUSE_SECONDS = 60
# A time limit costs a thread, which takes longer than to follow a path.
_PATHS_AT_ONCE = 64


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
        return self.resolve_all(directory_fd, [path])[path]

    def resolve_all(self, directory_fd: int, paths: Sequence[str]) -> dict[str, Target]:
        """Follow paths like `resolve`; a time limit holds for up to 64 of them."""
        found: dict[str, Target] = {}
        for start in range(0, len(paths), _PATHS_AT_ONCE):
            some = paths[start : start + _PATHS_AT_ONCE]
            try:
                found |= self.within("looking for backing files", partial(_follow_all, directory_fd, some))
            except errors.BackendUnavailable:
                found |= dict.fromkeys(some, Target(resolved=False))
        return found

    def within(self, action: str, call: Callable[[], T]) -> T:
        """Return the result of a call that follows a path; raise `BackendUnavailable` if one hangs, or hung lately."""
        if time.monotonic() < self._paused_until:
            raise errors.BackendUnavailable(f"{action} was not tried, since the storage behind a path or link hangs")
        try:
            return self._calls.within(self._timeout_seconds, action, call)
        except errors.BackendUnavailable:
            self._paused_until = time.monotonic() + _PAUSE_SECONDS
            raise


class Resolvers:
    """The resolver for links and for the names in images, and the resolver for the names in other files.

    A guest may have written the names in other files. If one of them leads to a storage that hangs, the resolver for
    images still follows paths.
    """

    def __init__(self) -> None:
        self.of_images = PathResolver()
        self.of_other_files = PathResolver()

    def cached(self, directory_fd: int) -> "CachedResolvers":
        return CachedResolvers(
            CachedResolver(directory_fd, self.of_images), CachedResolver(directory_fd, self.of_other_files)
        )


@dataclass(frozen=True)
class CachedResolvers:
    """Like `Resolvers`, for one scan."""

    of_images: "CachedResolver"
    of_other_files: "CachedResolver"


@dataclass
class CachedResolver:
    """Follows paths from one open directory, each path once."""

    fd: int
    resolver: PathResolver
    _targets: dict[str, Target] = field(default_factory=dict)

    def resolve(self, path: str) -> Target:
        return self.resolve_all([path])[path]

    def resolve_all(self, paths: Sequence[str]) -> Mapping[str, Target]:
        unknown = [path for path in paths if path not in self._targets]
        self._targets |= self.resolver.resolve_all(self.fd, unknown)
        return {path: self._targets[path] for path in paths}


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


def _follow_all(directory_fd: int, paths: Sequence[str]) -> dict[str, Target]:
    return {path: _follow(directory_fd, path) for path in paths}


def _follow(directory_fd: int, path: str) -> Target:
    try:
        return Target(syscalls.target_status(directory_fd, path))
    except OSError as failure:
        # Any other error, such as a refused permission, leaves open which file is there.
        return Target(resolved=failure.errno in syscalls.LEADS_NOWHERE)
