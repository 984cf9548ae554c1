"""The lock of a directory, on a hidden file in it, which excludes every host that has mounted the directory."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from snapmanage import errors
from snapmanage.drivers.qcow2.directory import LOCK, Directory
from snapmanage.drivers.system import syscalls
from snapmanage.drivers.system.files import translated_errors

_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_POLL_SECONDS = 0.02


@contextmanager
def locked(directory: Directory, timeout_seconds: float) -> Iterator[int]:
    """Lock the directory against all other workers, and yield the open lock file.

    Raise `BackendBusy` after `timeout_seconds`.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        with _lock_file(directory) as fd:
            with translated_errors(LOCK):
                # The lock counts only if the opened file is still the lock file of the directory.
                acquired = syscalls.try_lock(fd) and (syscalls.opened_status(fd).identity == directory.identity(LOCK))
            if acquired:
                yield fd
                return
        if time.monotonic() > deadline:
            raise errors.BackendBusy(
                f"another process has held the lock of the file {LOCK!r} for {timeout_seconds:g} s: retry later, or "
                "look for a frozen worker or qemu-img"
            )
        time.sleep(_POLL_SECONDS)


def check(directory: Directory) -> None:
    """Return if the directory can be locked; raise `BackendError` otherwise."""
    with _lock_file(directory) as fd, translated_errors(LOCK):
        syscalls.locked(fd)


@contextmanager
def _lock_file(directory: Directory) -> Iterator[int]:
    """Open the hidden lock file, and create it if it doesn't exist."""
    with translated_errors(LOCK):
        fd = os.open(LOCK, _LOCK_FLAGS, 0o600, dir_fd=directory.fd)
    try:
        yield fd
    finally:
        os.close(fd)
