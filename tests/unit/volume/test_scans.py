"""One scan serves many pages until it is too old; a first page is never read from an older scan."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot
from snapmanage.core.lists.filters import Page
from snapmanage.core.lists.inventory import Inventory
from snapmanage.core.reference import Reference
from snapmanage.drivers.fake import FakeDriver
from snapmanage.testing.waiting import until
from snapmanage.volume import scans as module
from snapmanage.volume.scans import KeptScans, Scans
from tests.examples import SERVER

FIRST = Page()
NEXT = Page(marker=Reference.named("volume-1-snapshot-2"))
BY_OFFSET = Page(offset=1)
SnapshotScans = Scans[BackendSnapshot]
TTL_SECONDS = 60
TIMEOUT_SECONDS = 60


class Watch:
    """A monotonic clock that a test may advance, and that advances a little with each reading."""

    now = 1000.0
    looks = 0

    def monotonic(self) -> float:
        self.looks += 1
        self.now += 0.001
        return self.now


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch()
    monkeypatch.setattr(module, "time", watch)
    return watch


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def scans(driver: FakeDriver) -> SnapshotScans:
    return scans_of(driver)


def scans_of(
    driver: FakeDriver, timeout_seconds: float = TIMEOUT_SECONDS, kept: KeptScans | None = None
) -> SnapshotScans:
    return Scans(SERVER, "snapshots", driver.list_snapshots, TTL_SECONDS, timeout_seconds, kept)


def names(inventory: Inventory[BackendSnapshot]) -> set[str]:
    return {each.name for each in inventory.candidates(FIRST)}


@pytest.mark.parametrize("following", [NEXT, BY_OFFSET])
def test_next_pages_are_read_from_the_same_scan(scans: SnapshotScans, watch: Watch, following: Page) -> None:
    first = scans.for_page(FIRST)
    watch.now += TTL_SECONDS - 1

    assert scans.for_page(following) is first


def test_scan_that_is_too_old_is_not_used(scans: SnapshotScans, watch: Watch) -> None:
    first = scans.for_page(FIRST)
    watch.now += TTL_SECONDS + 1

    assert scans.for_page(NEXT) is not first


def test_first_page_is_always_read_from_a_new_scan(scans: SnapshotScans, watch: Watch, driver: FakeDriver) -> None:
    scans.for_page(FIRST)
    watch.now += 1
    driver.add_snapshot("volume-1", "new")

    assert "new" in names(scans.for_page(FIRST))


def test_failed_scan_is_an_error_and_the_next_page_scans_again(
    scans: SnapshotScans, watch: Watch, driver: FakeDriver
) -> None:
    working = driver.hook
    driver.go_away()
    with pytest.raises(errors.BackendUnavailable):
        scans.for_page(FIRST)
    driver.hook = working

    assert len(names(scans.for_page(NEXT))) == 3


def test_hung_scan_is_abandoned_and_the_next_page_scans_again(driver: FakeDriver) -> None:
    released = threading.Event()

    def hook(step: str) -> None:
        released.wait(60)

    driver.hook = hook
    impatient = scans_of(driver, 0.01)

    with pytest.raises(errors.BackendUnavailable, match="was abandoned"):
        impatient.for_page(FIRST)
    released.set()

    assert len(names(scans_of(driver).for_page(FIRST))) == 3


def test_old_scan_is_forgotten(scans: SnapshotScans, watch: Watch) -> None:
    first = scans.for_page(FIRST)
    scans.forget_old()
    assert scans.for_page(NEXT) is first

    watch.now += TTL_SECONDS + 1
    scans.forget_old()
    watch.now -= TTL_SECONDS

    assert scans.for_page(NEXT) is not first


def test_scan_that_is_too_old_is_forgotten_before_the_next_one_begins(driver: FakeDriver) -> None:
    kept, entries = KeptScans(), []
    scans = scans_of(driver, kept=kept)
    scans.for_page(FIRST)
    driver.hook = lambda step: entries.append(kept.entries)

    scans.for_page(FIRST)

    assert entries
    assert set(entries) == {0}


def test_callers_that_waited_for_a_scan_share_the_next_one(
    driver: FakeDriver, scans: SnapshotScans, watch: Watch
) -> None:
    begun: list[threading.Event] = []
    may_end = threading.Event()

    def hook(step: str) -> None:
        begun.append(threading.Event())
        assert may_end.wait(20)

    driver.hook = hook
    with ThreadPoolExecutor(5) as pool:
        early = pool.submit(scans.for_page, FIRST)
        until(lambda: begun, "the first scan to begin")
        looks = watch.looks
        late = [pool.submit(scans.for_page, FIRST) for _ in range(4)]
        until(lambda: watch.looks == looks + 4, "four callers to read the clock")
        driver.add_snapshot("volume-1", "meanwhile")
        may_end.set()
        seen = {id(each.result(20)) for each in late}

        assert len(begun) == 2
        assert seen != {id(early.result(20))}
        assert len(seen) == 1
