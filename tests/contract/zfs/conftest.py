"""A laboratory of ZFS."""

from collections.abc import Iterator

import pytest

from snapmanage.testing.services.storage.zfs_fuse import ZfsFuse
from tests.contract.labs.zfs import ZfsLab, zfs_lab


@pytest.fixture
def lab(zfs_fuse: ZfsFuse) -> Iterator[ZfsLab]:
    with zfs_lab(zfs_fuse) as lab:
        yield lab
