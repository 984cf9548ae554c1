"""A driver that takes many at once: batches through the whole service."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding
from snapmanage.drivers import renaming
from snapmanage.drivers.fake import FakeDriver
from snapmanage.testing.waiting import until
from tests.functional.client import SERVER
from tests.functional.volume.helpers import worker_of
from tests.functional.world import OTHER_PROJECT, World, running_world

NUMBER = 40
NAMES = [f"volume-1-snapshot-{number}" for number in range(1, NUMBER + 1)]


class BatchFakeDriver(FakeDriver):
    """A fake backend that takes many renames at once; `sizes` holds the sizes of its batches.

    It has no answer to renames of the objects `unanswered`. `defects` are its defects by the names of the objects that
    uncover them.
    """

    batch_calls = 1

    def __init__(self) -> None:
        super().__init__(fake_volumes=2, fake_snapshots=NUMBER)
        self.sizes: list[int] = []
        self.unanswered: set[str] = set()
        self.defects: dict[str, str] = {}

    def rename(self, old: str, new: str) -> None:
        if old in self.unanswered:
            raise errors.BackendUnavailable("the backend did not answer")
        super().rename(old, new)

    def manage_snapshots(self, bindings: Sequence[Binding]) -> list[BackendSnapshot | errors.SnapmanageError]:
        self.sizes.append(len(bindings))
        uncovered = [self.defects[each.original_name] for each in bindings if each.original_name in self.defects]
        if "raises" in uncovered:
            raise ValueError("a defect")
        managed = renaming.manage_many(self, bindings)
        return managed[1:] if uncovered else managed


@pytest.fixture
def driver() -> BatchFakeDriver:
    return BatchFakeDriver()


@pytest.fixture
def world(tmp_path: Path, driver: BatchFakeDriver) -> Iterator[World]:
    with running_world(tmp_path, {SERVER: driver}) as world:
        yield world


def test_backlog_is_managed_in_few_batches_and_each_snapshot_has_its_events(
    world: World, driver: BatchFakeDriver
) -> None:
    volume = world.register_volume()
    with world.hang_at("rename") as first:
        requested = [world.request_manage(volume, NAMES[0])]
        first.reached()
        requested += [world.request_manage(volume, name) for name in NAMES[1:]]
        until(lambda: world.record(requested[-1]).backend_id, "the last to be found")

    assert {world.await_settled(each)["status"] for each in requested} == {"available"}
    assert (driver.sizes[0], sum(driver.sizes)) == (1, NUMBER)
    assert len(driver.sizes) < NUMBER / 2
    for each in requested:
        assert world.audited_events(each, ".end") == ["snapshot.manage.start", "snapshot.manage.end"]


def test_object_for_which_the_backend_has_no_answer_costs_no_other_operation_an_attempt(
    world: World, driver: BatchFakeDriver
) -> None:
    volume = world.register_volume()
    driver.unanswered = set(NAMES[1:4])
    with world.hang_at("rename") as first:
        requested = [world.request_manage(volume, NAMES[0])]
        first.reached()
        requested += [world.request_manage(volume, name) for name in NAMES[1:10]]
        until(lambda: world.record(requested[-1]).backend_id, "the last to be found")

    good = [requested[0], *requested[4:]]
    assert {world.await_settled(each)["status"] for each in good} == {"available"}
    assert {world.record(each).attempt for each in good} == {1}
    until(lambda: all(world.record(each).reason for each in requested[1:4]), "the failures of the others")


class Gates:
    """A hook that stops the driver at the steps of a kind with the given numbers, until a test opens the gate."""

    def __init__(self, *numbers: int, step: str = "rename") -> None:
        self.gates = {number: (threading.Event(), threading.Event()) for number in numbers}
        self._step = step
        self._steps = 0

    def __call__(self, step: str) -> None:
        self._steps += step == self._step
        if step == self._step and (gate := self.gates.get(self._steps)):
            gate[0].set()
            gate[1].wait(60)

    def reached(self, number: int) -> None:
        assert self.gates[number][0].wait(20), f"{self._step} {number} did not begin"

    def open(self, number: int) -> None:
        self.gates[number][1].set()


def test_operation_in_a_long_batch_tells_its_position(world: World, driver: BatchFakeDriver) -> None:
    worker_of(world).renew_every = 0.05
    volume = world.register_volume()
    driver.hook = gates = Gates(1, 3)
    requested = [world.request_manage(volume, NAMES[0])]
    gates.reached(1)
    requested += [world.request_manage(volume, name) for name in NAMES[1:5]]
    until(lambda: all(world.record(each).backend_id for each in requested), "all to be found")
    gates.open(1)
    gates.reached(3)

    until(lambda: positions(world, requested[1:]) == [(1, 4), (1, 4), (2, 4), (3, 4)], "the positions")
    gates.open(3)
    assert {world.await_settled(each)["status"] for each in requested} == {"available"}
    assert positions(world, requested[1:]) == []


def positions(world: World, requested: Sequence[str]) -> list[tuple[int, int]]:
    """Return the shown positions of operations in their batches, each with the size of the batch."""
    shown = [world.client.operation(each) for each in requested]
    return sorted((each["batch_position"], each["batch_size"]) for each in shown if each["batch_size"])


def test_found_snapshot_that_waits_for_its_rename_has_no_position_in_the_batch_of_its_search(
    world: World, driver: BatchFakeDriver
) -> None:
    worker_of(world).renew_every = 0.05
    volume = world.register_volume()
    finds, renames = Gates(1, 3, step="find"), Gates(1)

    def stop(step: str) -> None:
        finds(step)
        renames(step)

    driver.hook = stop
    requested = [world.request_manage(volume, NAMES[0])]
    finds.reached(1)
    requested += [world.request_manage(volume, name) for name in NAMES[1:5]]
    until(lambda: all(world.record(each).claimed_by for each in requested), "all to be claimed")
    finds.open(1)
    renames.reached(1)
    finds.reached(3)
    until(lambda: len(positions(world, requested[1:])) == 4, "the leases to be renewed during the search")

    finds.open(3)
    until(lambda: all(world.record(each).backend_id for each in requested), "all to be found")
    assert positions(world, requested[1:]) == []
    renames.open(1)
    assert {world.await_settled(each)["status"] for each in requested} == {"available"}


def test_long_batch_of_renames_delays_no_search_of_another_project(world: World) -> None:
    volume, other = world.register_volume(), world.another_client(OTHER_PROJECT)
    other_volume = other.manage_volume("volume-2").json()["volume"]["id"]
    until(lambda: other.volume(other_volume)["status"] == "available", "the other volume to be available")
    with world.hang_at("rename") as slow:
        world.request_manage(volume, NAMES[0])
        slow.reached()
        late = other.manage(other_volume, "volume-2-snapshot-1").json()["snapshot"]["id"]

        until(lambda: world.record(late).backend_id, "the snapshot of the other project to be found")
    until(lambda: other.snapshot(late)["status"] == "available", "it to be available")
    other.close()


@pytest.mark.parametrize("defect", ["raises", "returns-too-few"])
def test_object_that_uncovers_a_defect_of_the_driver_fails_no_other_operation(
    world: World, driver: BatchFakeDriver, defect: str
) -> None:
    volume = world.register_volume()
    driver.defects = {NAMES[2]: defect}
    with world.hang_at("rename") as first:
        requested = [world.request_manage(volume, NAMES[0])]
        first.reached()
        requested += [world.request_manage(volume, name) for name in NAMES[1:6]]
        until(lambda: world.record(requested[-1]).backend_id, "the last to be found")

    good = [*requested[:2], *requested[3:]]
    assert {world.await_settled(each)["status"] for each in good} == {"available"}
    assert {world.record(each).attempt for each in good} == {1}
    assert 5 in driver.sizes
    until(lambda: world.record(requested[2]).reason, "the failure of the other")
