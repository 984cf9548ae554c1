"""What the system lets snapmanage do to an open file, asked before it is tried: give it a name, and write it."""

import os
from pathlib import Path

from snapmanage.drivers.system.syscalls import FileStatus

_PROTECTED = Path("/proc/sys/fs/protected_hardlinks")


def why_fixed(fd: int, found: FileStatus) -> str:
    """Why the file can be given no other name, as a clause; empty where it can."""
    if found.immovable:
        return "it is immutable, append-only or mounted on: see lsattr and findmnt"
    if os.geteuid() in (0, os.fstat(fd).st_uid) or _may(fd, os.R_OK | os.W_OK) or not _links_protected():
        return ""
    return "it must be snapmanage's own, or readable and writable (fs.protected_hardlinks)"


def why_sealed(fd: int) -> str:
    """Why the file can't be written, as a clause; empty where it can."""
    return "" if _may(fd, os.W_OK) else "snapmanage may not write it"


def _may(fd: int, mode: int) -> bool:
    return os.access(f"/proc/self/fd/{fd}", mode, effective_ids=True)


def _links_protected() -> bool:
    try:
        return _PROTECTED.read_text().strip() != "0"
    except OSError:
        return True
