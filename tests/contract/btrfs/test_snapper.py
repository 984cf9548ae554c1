"""Snapshots as snapper makes them, with its notes beside them."""

import pytest

from snapmanage.core.backend import Notes
from snapmanage.core.reference import Reference
from snapmanage.drivers.btrfs import snapper
from snapmanage.drivers.btrfs.driver import BtrfsDriver
from snapmanage.testing.services.storage.btrfs import Btrfs
from tests.contract.btrfs.helpers import bind
from tests.unit.drivers.btrfs.test_snapper import FILES, TAKEN_AT

NAME = ".snapshots/1/snapshot"


@pytest.fixture
def noted(btrfs: Btrfs) -> None:
    """Make the layout of snapper: a subvolume `.snapshots` with a folder for each number."""
    btrfs.add_volume(".snapshots")
    for number, notes in enumerate(("single", "post", None), 1):
        folder = btrfs.top / f".snapshots/{number}"
        folder.mkdir()
        btrfs.add_snapshots("volume-1", f".snapshots/{number}/snapshot")
        if notes:
            (folder / "info.xml").write_bytes((FILES / f"{notes}.xml").read_bytes())


@pytest.mark.usefixtures("noted")
def test_notes_are_those_of_the_file_beside_the_snapshot(driver: BtrfsDriver) -> None:
    first, second, third = driver.list_snapshots()

    assert first.notes is not None
    assert first.notes.created_at is not None
    assert first.notes == Notes(first.notes.created_at, 'before the "upgrade" <1> & ümlaut')
    assert first.notes.created_at.timestamp() == TAKEN_AT
    assert second.notes == Notes(first.notes.created_at)
    assert third.notes is None
    assert driver.find_snapshot(Reference.named(NAME)) == first


@pytest.mark.usefixtures("noted")
def test_managed_snapshot_has_no_notes_and_its_file_stays(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    binding = bind(driver, NAME)

    managed = driver.manage_snapshot(binding)

    assert managed.notes is None
    assert (btrfs.top / ".snapshots/1/info.xml").exists()
    driver.unmanage_snapshot(binding)
    assert driver.find_snapshot(Reference.named(NAME)).notes is not None


def test_escaped_name_does_not_get_the_notes_of_another_snapshot(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    for folder in (b"\xff", b"\\xff"):
        place = btrfs.top / folder.decode(errors="surrogateescape") / "1"
        place.mkdir(parents=True)
        btrfs.add_snapshots("volume-1", str(place.relative_to(btrfs.top) / "snapshot"))
    (place / "info.xml").write_bytes((FILES / "single.xml").read_bytes())

    found = {each.name: each.notes for each in driver.list_snapshots()}

    assert found["./\\xff/1/snapshot"] is None
    assert found["\\xff/1/snapshot"] is not None


def test_folder_without_names_of_snapper_costs_no_look(
    btrfs: Btrfs, driver: BtrfsDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    btrfs.add_snapshots("volume-1", "daily", "snapshot")
    monkeypatch.setattr(snapper, "syscalls", None)

    assert {each.name for each in driver.list_snapshots()} == {"daily", "snapshot"}
