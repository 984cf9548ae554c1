"""Odd shapes of logical volumes: snapshots that are listed as safe can be managed, and others are refused alike."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, BackendVolume, Binding, Unsafe, refuse_foreign, refuse_unsafe
from snapmanage.core.reference import Reference
from tests.contract.labs.lvm import LvmMetadataLab, lvm_lab
from tests.services.storage import lvm_oddities


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LvmMetadataLab]:
    with lvm_lab(True, tmp_path) as made:
        yield cast(LvmMetadataLab, made)


@pytest.fixture
def odd_lab(lab: LvmMetadataLab) -> LvmMetadataLab:
    lab.add_oddities()
    return lab


def find(lab: LvmMetadataLab, name: str) -> BackendSnapshot:
    return lab.driver.find_snapshot(Reference.named(name))


def find_volume(lab: LvmMetadataLab, name: str) -> BackendVolume:
    return lab.driver.find_volume(Reference.named(name))


def manage(lab: LvmMetadataLab, snapshot: BackendSnapshot) -> BackendSnapshot:
    """Manage a snapshot on its listed volume, as the server does."""
    volume = lab.driver.find_volume(Reference.named(snapshot.parent or ""))
    refuse_foreign(snapshot, volume.name, volume.identity)
    name = lab.driver.managed_name(snapshot, f"mine-{snapshot.identity}")
    return lab.driver.manage_snapshot(Binding(snapshot.identity, snapshot.name, name))


def test_snapshot_of_a_restored_volume_is_managed_on_it(lab: LvmMetadataLab) -> None:
    lab.group.add_thin_snapshots(lab.volume, "snap-1")
    lab.group.add_thin_snapshots("snap-1", "pvc-2")
    lab.group.add_thin_snapshots("pvc-2", "snap-2")

    managed = manage(lab, find(lab, "snap-2"))
    volumes = {found.name: found.identity for found in lab.driver.list_volumes()}

    assert volumes == {name: find_volume(lab, name).identity for name in (lab.volume, "snap-1", "pvc-2")}
    assert (managed.parent, managed.parent_identity) == ("pvc-2", find(lab, "pvc-2").identity)


def test_every_snapshot_that_is_listed_as_safe_can_be_managed(odd_lab: LvmMetadataLab) -> None:
    safe = [found for found in odd_lab.driver.list_snapshots() if found.unsafe is None]

    # The loop may have renamed the parent before, so each snapshot is looked up again.
    managed = [manage(odd_lab, find(odd_lab, found.name)) for found in safe]

    assert {found.identity for found in managed} == {found.identity for found in safe}
    assert {found.parent for found in safe} >= {
        *("raid", "checked-raid", "mirror", "cached", "writecached", "vdo", "base", "restored-0", "restored-2")
    }


def test_snapshot_that_is_listed_as_unsafe_is_refused_by_name_with_the_same_reason(odd_lab: LvmMetadataLab) -> None:
    unsafe = [found for found in odd_lab.driver.list_snapshots() if found.unsafe is not None]

    for listed in unsafe:
        named = find(odd_lab, listed.name)
        with pytest.raises((errors.Unusable, errors.InUse), match=listed.unsafe_reason):
            refuse_unsafe(named)
        with pytest.raises((errors.Unusable, errors.InUse), match=listed.unsafe_reason):
            odd_lab.driver.manage_snapshot(Binding(listed.identity, listed.name, "mine"))

    assert {found.name: found.unsafe for found in unsafe} == {
        "locked": Unsafe.IN_USE,
        lvm_oddities.LONGEST_NAME: Unsafe.UNUSABLE,
        "old_vdata": Unsafe.UNUSABLE,
        "snapshot-old": Unsafe.UNUSABLE,
        "pvmove7": Unsafe.UNUSABLE,
    }


def test_parts_and_pools_are_neither_volumes_nor_snapshots(odd_lab: LvmMetadataLab) -> None:
    for name in ("vdo-pool", "vdo-pool_vdata", "cache-pool", "cached-fast_cpool", "cached_corig", "raid_rimage_0"):
        with pytest.raises(errors.NotAVolume):
            odd_lab.driver.find_volume(Reference.named(name))
        with pytest.raises(errors.NotASnapshot):
            find(odd_lab, name)


def test_snapshot_that_is_merged_at_the_next_activation_is_refused_by_name(odd_lab: LvmMetadataLab) -> None:
    with pytest.raises(errors.Unusable, match="merged"):
        refuse_unsafe(find(odd_lab, "merging"))


def test_invalid_time_is_left_out_and_hides_no_other_snapshot(odd_lab: LvmMetadataLab) -> None:
    listed = {found.name: found.created_at for found in odd_lab.driver.list_snapshots()}

    assert listed["aged"] is None
    assert listed["tagged"] is not None
