"""The lock of a directory, on a hidden file in it, which excludes every host that has mounted the directory.

A process that waits for the lock tries again and again, so it may miss the moment at which another one releases it. The
threads of one process therefore queue up in the order of their arrival: a listing waits for one batch of renames,
not for a backlog of batches.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from snapmanage import errors
from snapmanage.drivers.qcow2.directory import LOCK, Directory
from snapmanage.drivers.system import syscalls
from snapmanage.drivers.system.files import translated_errors

_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_POLL_SECONDS = 0.02


class ThreadQueue:
    """The threads of a process that wait for one directory, in the order of their arrival."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()

    @contextmanager
    def awaited(self, deadline: "Deadline") -> Iterator[None]:
        """Wait until this thread is first, and keep its place in the block; raise `BackendBusy` at the deadline."""
        thread = object()
        self._queue.append(thread)
        try:
            with self._changed:
                if not self._changed.wait_for(lambda: self._queue[0] is thread, deadline.seconds_left()):
                    raise deadline.exceeded()
            yield
        finally:
            with self._changed:
                self._queue.remove(thread)
                self._changed.notify_all()


class Deadline:
    """The time until which a thread waits in the queue and for the lock."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._ends_at = time.monotonic() + timeout_seconds

    def seconds_left(self) -> float:
        return max(0.0, self._ends_at - time.monotonic())

    def exceeded(self) -> errors.BackendBusy:
        return errors.BackendBusy(
            f"another process has held the lock of the file {LOCK!r} for {self._timeout_seconds:g} s: retry later, or "
            "look for a frozen worker or qemu-img"
        )


@contextmanager
def locked(directory: Directory, deadline: Deadline) -> Iterator[int]:
    """Lock the directory against all other workers, and yield the open lock file; raise `BackendBusy`."""
    while True:
        with _lock_file(directory) as fd:
            with translated_errors(LOCK):
                # The lock counts only if the opened file is still the lock file of the directory.
                acquired = syscalls.try_lock(fd) and (syscalls.opened_status(fd).identity == directory.identity(LOCK))
            if acquired:
                yield fd
                return
        if not deadline.seconds_left():
            raise deadline.exceeded()
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
