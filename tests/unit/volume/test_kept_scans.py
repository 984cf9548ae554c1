"""The scans of all backends have room for so many entries; beyond it the oldest one is forgotten."""

from snapmanage.core.lists.filters import Page
from snapmanage.core.lists.inventory import Inventory
from snapmanage.drivers.fake import FakeDriver
from snapmanage.volume.scans import KeptScans, Scan, Scans
from tests import examples

LATER = Page(offset=1)
ONE, TWO, THREE = ((server, "snapshots") for server in ("one", "two", "three"))


def scan(entries: int) -> Scan:
    return Scan(0.0, Inventory([examples.found(str(number)) for number in range(entries)]))


def test_scans_at_the_limit_are_kept_and_one_entry_more_forgets_the_oldest() -> None:
    kept, first, second = KeptScans(most_entries=5), scan(3), scan(2)

    kept.keep(ONE, first)
    kept.keep(TWO, second)
    assert (kept.get(ONE), kept.get(TWO), kept.entries) == (first, second, 5)

    kept.keep(THREE, scan(1))
    assert (kept.get(ONE), kept.get(TWO), kept.entries) == (None, second, 3)


def test_scan_replaces_its_predecessor() -> None:
    kept = KeptScans(most_entries=5)

    kept.keep(ONE, scan(3))
    kept.keep(ONE, scan(4))

    assert kept.entries == 4


def test_scan_that_is_too_large_serves_its_page_and_is_not_kept() -> None:
    kept = KeptScans(most_entries=2)
    scans = Scans(examples.SERVER, "snapshots", FakeDriver().list_snapshots, 60, 60, kept)

    first, second = scans.for_page(LATER), scans.for_page(LATER)

    assert len(first) == len(second) == 3
    assert first is not second
    assert kept.entries == 0
