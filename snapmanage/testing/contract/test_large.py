"""The contract of a driver: long listings."""

import pytest

from snapmanage.testing.contract.helpers import counted
from snapmanage.testing.lab import LargeLab

MANY = 5000


@pytest.mark.lab_needs("add_many")
def test_thousands_of_snapshots_are_listed_in_one_scan(lab: LargeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.add_many(MANY)
    scans: list[object] = []
    if lab.scan:
        owner, name = lab.scan
        monkeypatch.setattr(owner, name, counted(getattr(owner, name), scans))

    listed = lab.driver.list_snapshots()

    assert len({snapshot.identity for snapshot in listed}) == len({snapshot.name for snapshot in listed}) == MANY
    assert len(scans) == (1 if lab.scan else 0)
