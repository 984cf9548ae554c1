"""The features of the fake backend that other drivers don't have: its initial content and its hook."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from snapmanage import errors
from snapmanage.core.reference import Reference
from snapmanage.drivers.fake import FakeDriver


def test_options_set_the_initial_volumes_and_snapshots() -> None:
    driver = FakeDriver(fake_volumes=2, fake_snapshots=2)

    listed = {snapshot.name: snapshot.parent for snapshot in driver.list_snapshots()}

    assert listed == {f"volume-{v}-snapshot-{s}": f"volume-{v}" for v in (1, 2) for s in (1, 2)}


def test_options_are_arguments_of_the_constructor() -> None:
    FakeDriver(**{option.dest: option.default for option in FakeDriver.options})


def test_error_of_the_hook_fails_the_step() -> None:
    driver = FakeDriver()
    driver.go_away()

    with pytest.raises(errors.BackendUnavailable, match="'list'"):
        driver.list_snapshots()


def test_step_hangs_while_the_hook_waits_and_other_calls_continue() -> None:
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
