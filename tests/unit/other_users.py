"""A folder of another user, and a context in which this process is that user; both need root."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snapmanage.testing.needs import require

NOBODY = 65534


@contextmanager
def folder_of_nobody(rights: int) -> Iterator[Path]:
    """Yield a folder of the user `nobody` with these rights; folders above pytest's own are closed to other users."""
    require(root=True)
    made = Path(tempfile.mkdtemp())
    try:
        os.chown(made, NOBODY, NOBODY)
        made.chmod(rights)
        yield made
    finally:
        shutil.rmtree(made)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Let this process be the user `nobody`, without the capabilities of root."""
    require(root=True)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
