"""A btrfs with one volume, its driver, and a snapshot to manage."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from snapmanage.core.backend import Binding
from snapmanage.drivers.btrfs.driver import BtrfsDriver
from snapmanage.drivers.system import privsep
from snapmanage.testing.services.storage.btrfs import Btrfs, mounted_btrfs, require_kernel
from tests.contract.btrfs.helpers import bind


@pytest.fixture
def btrfs(tmp_path: Path) -> Iterator[Btrfs]:
    require_kernel()
    privsep.start()
    with mounted_btrfs(tmp_path) as made:
        made.add_volume("volume-1")
        yield made


@pytest.fixture
def driver(btrfs: Btrfs) -> BtrfsDriver:
    return BtrfsDriver(str(btrfs.top))


@pytest.fixture
def binding(btrfs: Btrfs, driver: BtrfsDriver) -> Binding:
    """Make a snapshot `snapshots/daily` and return the binding to manage it."""
    (btrfs.top / "snapshots").mkdir()
    btrfs.add_snapshots("volume-1", "snapshots/daily")
    return bind(driver, "snapshots/daily")
