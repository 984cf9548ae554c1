"""A lease on a file, as a file server takes for a client: other processes that open the file wait, or are refused."""

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def leased(path: Path) -> Iterator[None]:
    """Hold a lease for writing on a file that no process has open."""
    fd = os.open(path, os.O_RDWR)
    try:
        # The kernel signals a process that opens the file; the default signal would end the test.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield
    finally:
        os.close(fd)
