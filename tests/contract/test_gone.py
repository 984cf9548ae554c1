"""What an operator is told is gone, on a backend whose objects changed behind snapmanage's back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from snapmanage.drivers import privileged
from snapmanage.drivers.lvm import LvmDriver
from snapmanage.manage import comparing
from tests.functional.world import SERVER, World, a_world
from tests.needs import require
from tests.services.lvm_metadata import MetadataGroup, metadata_group


@pytest.fixture
def group(tmp_path: Path) -> Iterator[MetadataGroup]:
    require("lvs", "losetup", root=True)
    privileged.start()
    with metadata_group(tmp_path) as group:
        group.add_pool()
        group.add_thin_volumes("volume")
        group.add_thin_snapshots("volume", "marked", "unmarked")
        group.lvm("lvchange", "--setactivationskip", "n", f"{group.name}/unmarked")
        yield group


@pytest.fixture
def world(group: MetadataGroup, tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path, {SERVER: LvmDriver(group.name, str(group.system_dir), 30)}) as made:
        yield made


def test_thin_snapshots_whose_origin_was_removed_are_not_gone(world: World, group: MetadataGroup) -> None:
    volume_id = world.known_volume("volume")
    for name in ("marked", "unmarked"):
        world.managed(volume_id, name)

    group.remove_thin("volume")

    assert comparing.differences(world.db, SERVER, world.driver) == []
