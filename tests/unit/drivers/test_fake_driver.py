"""What the fake backend offers to trials and tests beyond a driver's duties."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from snapmanage import errors
from snapmanage.core.reference import Reference
from snapmanage.drivers.fake import FakeDriver


def test_it_begins_as_its_options_say() -> None:
    driver = FakeDriver(fake_volumes=2, fake_snapshots=2)

    listed = {snapshot.name: snapshot.parent for snapshot in driver.list_snapshots()}

    assert listed == {f"volume-{v}-snapshot-{s}": f"volume-{v}" for v in (1, 2) for s in (1, 2)}


def test_its_options_are_its_arguments() -> None:
    FakeDriver(**{option.dest: option.default for option in FakeDriver.options})


def test_hook_may_fail_a_step() -> None:
    driver = FakeDriver()
    driver.go_away()

    with pytest.raises(errors.BackendUnavailable, match="'list'"):
        driver.list_snapshots()


def test_step_hangs_as_long_as_the_hook_waits_and_holds_nobody_else_up() -> None:
    driver, reached, released = FakeDriver(), threading.Event(), threading.Event()

    def hook(step: str) -> None:
        if step == "list":
            reached.set()
            released.wait(20)

    driver.hook = hook
    with ThreadPoolExecutor(1) as worker:
        listing = worker.submit(driver.list_snapshots)
        assert reached.wait(20)
        found = driver.find_snapshot(Reference.named("volume-1-snapshot-1"))
        hung = not listing.done()
        released.set()

    assert hung
    assert found in listing.result()


def test_snapshots_of_a_removed_volume_have_no_parent() -> None:
    driver = FakeDriver(fake_snapshots=1)

    driver.remove("volume-1")

    assert [(found.parent, found.parent_identity) for found in driver.list_snapshots()] == [(None, None)]
