"""Calls of a driver that takes one object at a time: quick operations share a call, and a slow one delays no other."""

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest

from snapmanage.core.backend import BackendSnapshot
from snapmanage.core.reference import Reference
from snapmanage.drivers.fake import FakeDriver
from snapmanage.manage.claims import Claimed
from snapmanage.manage.settling import Outcome, Resolution
from snapmanage.testing.waiting import until
from snapmanage.volume import driver_pool, steps
from snapmanage.volume.driver_call import JOINED_SECONDS, Limits
from snapmanage.volume.driver_pool import Answer, DriverPool
from tests import examples
from tests.examples import new_id

QUICK = Limits(threads=2, calls_of_a_step=2, batch=200, seconds=JOINED_SECONDS)


def find(number: int) -> Claimed:
    return Claimed(examples.snapshot(f"volume-1-snapshot-{number}", id=new_id()))


class SlowDriver(FakeDriver):
    """A driver that finds one snapshot only when it is released; `asked` holds the names that it was asked for."""

    def __init__(self, slow: str = "") -> None:
        super().__init__(fake_snapshots=30)
        self.slow, self.reached, self.released = slow, threading.Event(), threading.Event()
        self.asked: list[str] = []

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        self.asked.append(reference.name())
        if reference.name() == self.slow:
            self.reached.set()
            assert self.released.wait(60)
        return super().find_snapshot(reference, volume)


class Pool(DriverPool):
    """A pool that has found many snapshots quickly; `calls` holds the sizes of its later calls."""

    def __init__(self, driver: SlowDriver) -> None:
        self.answers: list[Answer] = []
        self.calls: list[int] = []
        carry_out: Callable[[Sequence[Claimed]], Sequence[Answer | None]]
        carry_out = partial(steps.carry_out, driver, name_template="")

        def call(claimed: Sequence[Claimed]) -> Sequence[Answer | None]:
            self.calls.append(len(claimed))
            return carry_out(claimed)

        super().__init__("driver", QUICK, call, self.answers.append)
        for _ in range(10):
            self.find(range(1, 31))
        self.calls.clear()

    def find(self, numbers: range) -> list[Claimed]:
        """Submit operations, and wait for their answers."""
        claimed, before = [find(number) for number in numbers], len(self.answers)
        self.submit(claimed)
        until(lambda: len(self.answers) == before + len(claimed), "the answers")
        return claimed

    def answered(self, claimed: Sequence[Claimed]) -> list[type[Answer]]:
        """Return the kinds of the answers for some operations."""
        ids = {each.record.id for each in claimed}
        return [type(each) for each in self.answers if each.record.id in ids]


@pytest.fixture
def driver() -> SlowDriver:
    return SlowDriver()


@pytest.fixture
def pool(driver: SlowDriver) -> Iterator[Pool]:
    made = Pool(driver)
    yield made
    made.stop()
    driver.released.set()


def test_quick_operations_share_one_call_although_other_threads_are_idle(pool: Pool) -> None:
    pool.find(range(1, 31))

    assert pool.calls == [30]


def test_operations_behind_a_slow_one_are_carried_out_once_by_another_call(
    pool: Pool, driver: SlowDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_pool, "SLOW_SECONDS", 0.0)
    driver.slow = "volume-1-snapshot-12"
    driver.asked.clear()
    claimed = [find(number) for number in range(11, 21)]
    pool.submit(claimed)
    assert driver.reached.wait(60)

    pool.divide_slow_calls()
    until(lambda: len(pool.answered(claimed[2:])) == 8, "the answers of those behind it")
    before = pool.answered(claimed[:2])
    driver.released.set()
    until(lambda: len(pool.answered(claimed)) == 10, "the answers of the others")

    assert before == []
    assert pool.answered(claimed) == [Resolution] * 10
    assert sorted(driver.asked) == [f"volume-1-snapshot-{number}" for number in range(11, 21)]


def test_slow_operation_that_hangs_in_the_end_is_abandoned_without_those_that_another_call_has_got(
    pool: Pool, driver: SlowDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_pool, "SLOW_SECONDS", 0.0)
    driver.slow = "volume-1-snapshot-12"
    claimed = [find(number) for number in range(11, 15)]
    pool.submit(claimed)
    assert driver.reached.wait(60)
    pool.divide_slow_calls()
    until(lambda: len(pool.answered(claimed[2:])) == 2, "the answers of those behind it")

    assert pool.abandon(0) == [claimed[1]]
    until(lambda: pool.answered(claimed[:1]), "the answer of the one before it")
    assert pool.answered(claimed) == [Resolution] * 3


def test_call_that_moves_on_is_not_divided(pool: Pool, driver: SlowDriver) -> None:
    driver.slow = "volume-1-snapshot-12"
    claimed = [find(number) for number in range(11, 15)]
    pool.submit(claimed)
    assert driver.reached.wait(60)

    pool.divide_slow_calls()
    driver.released.set()
    until(lambda: len(pool.answered(claimed)) == 4, "the answers")

    assert pool.calls == [4]


def test_slow_operation_of_a_quick_driver_delays_no_other_in_the_service(pool: Pool, driver: SlowDriver) -> None:
    driver.slow = "volume-1-snapshot-12"
    pool.submit([find(number) for number in range(12, 15)])
    assert driver.reached.wait(60)

    assert pool.find(range(20, 25))
    assert not any(isinstance(each, Outcome) for each in pool.answers)
