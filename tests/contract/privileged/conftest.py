"""One installation of snapmanage for all machines, and a volume group."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from snapmanage.testing.needs import require
from snapmanage.testing.services.lvm_metadata import MetadataGroup, metadata_group
from tests.services.guests.machine import install, require_machine


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_machine()
    folder = tmp_path_factory.mktemp("installation")
    install(folder)
    return folder


@pytest.fixture
def group(tmp_path: Path) -> Iterator[MetadataGroup]:
    require("lvs", "losetup", root=True)
    with metadata_group(tmp_path) as group:
        group.add_volumes("volume")
        group.add_thick_snapshots("volume", "daily")
        yield group
