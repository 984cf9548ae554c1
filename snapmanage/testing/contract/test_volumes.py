"""The contract of a driver: listing volumes."""

from datetime import UTC
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.core.reference import Reference
from snapmanage.testing.contract.helpers import check_raises, counted, new_snapshot
from snapmanage.testing.lab import ListingLab


@pytest.mark.lab_needs("lists_volumes")
@pytest.mark.no_kernel
def test_list_of_volumes_has_every_volume_and_no_snapshot(lab: ListingLab) -> None:
    other = lab.add_volume("other-volume")
    snapshot = new_snapshot(lab)

    listed = lab.driver.list_volumes()

    assert {lab.volume, other} <= {volume.name for volume in listed}
    assert snapshot.name not in {volume.name for volume in listed}
    assert snapshot.identity not in {volume.identity for volume in listed}


@pytest.mark.lab_needs("lists_volumes")
@pytest.mark.no_kernel
def test_listed_volume_is_found_by_its_name_with_equal_values(lab: ListingLab) -> None:
    lab.add_volume("other-volume")

    listed = lab.driver.list_volumes()

    assert [lab.driver.find_volume(Reference.named(volume.name)) for volume in listed] == listed
    assert {volume.unsafe for volume in listed} == {None}
    assert {volume.created_at.tzinfo for volume in listed if volume.created_at} <= {UTC}


@pytest.mark.lab_needs("lists_volumes")
@pytest.mark.no_kernel
def test_listed_volume_is_the_parent_of_its_snapshots(lab: ListingLab) -> None:
    snapshot = new_snapshot(lab)

    [volume] = [each for each in lab.driver.list_volumes() if each.name == lab.volume]

    assert (snapshot.parent, snapshot.parent_identity) == (volume.name, volume.identity)
    assert volume.size_bytes == lab.size_bytes


@pytest.mark.lab_needs("lists_volumes", "add_many")
@pytest.mark.no_kernel
def test_volumes_are_listed_in_one_scan(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        lab.add_volume(f"more-{number}")
    scans: list[object] = []
    if lab.scan:
        owner, name = lab.scan
        monkeypatch.setattr(owner, name, counted(getattr(owner, name), scans))

    assert len(lab.driver.list_volumes()) >= 4
    assert len(scans) == (1 if lab.scan else 0)


@pytest.mark.lab_needs("lists_volumes")
@pytest.mark.no_kernel
def test_list_of_volumes_of_an_unreachable_backend_is_a_retryable_error(lab: ListingLab) -> None:
    listed = lab.driver.list_volumes()
    lab.go_away()
    try:
        with check_raises(errors.BackendUnavailable, "backend_unavailable"):
            lab.driver.list_volumes()
    finally:
        lab.come_back()

    assert lab.driver.list_volumes() == listed
