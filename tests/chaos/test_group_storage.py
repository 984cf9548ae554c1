"""The storage of a storm on LVM sees each rename that was done, and each object that should not be there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from snapmanage.testing import needs
from snapmanage.testing.services.lvm_metadata import MetadataGroup, metadata_group
from tests.chaos.fleet.group import GroupStorage


@pytest.fixture
def group(tmp_path: Path) -> Iterator[MetadataGroup]:
    needs.require("lvs", "losetup", root=True)
    with metadata_group(tmp_path) as made:
        yield made


def test_renames_are_seen_one_by_one_and_a_refused_one_is_not(group: MetadataGroup) -> None:
    storage = GroupStorage("storage-1@pool", group, reserve=3)
    storage.plant("s00001")
    key = storage.key_of("s00001")

    for old, new in [("s00001", "managed"), ("managed", "s00001"), ("s00001", "managed")]:
        group.lvm("lvrename", group.name, old, new)
    with pytest.raises(AssertionError, match="already exists"):
        group.lvm("lvrename", group.name, "s00002", "managed")

    assert storage.renames() == {("s00001", "managed"): 2, ("managed", "s00001"): 1}
    assert (storage.key_of("managed"), storage.key_of("s00001")) == (key, None)
    assert storage.deviations() == []


def test_lost_and_foreign_snapshots_are_deviations(group: MetadataGroup) -> None:
    storage = GroupStorage("storage-1@pool", group, reserve=2)

    group.remove_thin("s00000")
    group.add_thin_snapshots("disk", "foreign")

    assert storage.deviations() == ["storage-1@pool: s00000 is gone", "storage-1@pool: foreign was not there"]
