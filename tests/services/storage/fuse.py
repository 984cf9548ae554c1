"""A file system that another user has mounted with FUSE, as `fusermount` does it for every user. Needs root.

Nothing answers the kernel's requests. They are not even sent, since only the user that mounted it may look at it.
"""

import ctypes
import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snapmanage.testing.needs import lacking, require

OTHER_USER = 65534
_DEVICE = Path("/dev/fuse")
_NO_SET_USER_ID, _NO_DEVICES = 2, 4
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def mounted_by_other_user(point: Path) -> Iterator[None]:
    """Mount on a file or a folder."""
    require("umount", root=True)
    if not _DEVICE.exists():
        lacking("FUSE in the kernel")
    device = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        kind = stat.S_IFMT(point.stat().st_mode)
        options = f"fd={device},rootmode={kind:o},user_id={OTHER_USER},group_id={OTHER_USER}"
        flags = _NO_SET_USER_ID | _NO_DEVICES
        if _libc.mount(b"fuse", os.fsencode(point), b"fuse", flags, options.encode()) != 0:
            lacking(f"mounts with FUSE ({os.strerror(ctypes.get_errno())})")
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", str(point)], check=True)
    finally:
        os.close(device)
