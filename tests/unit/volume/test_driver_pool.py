"""The pool of threads that call a driver, and its hung calls."""

import itertools
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from snapmanage import errors
from snapmanage.manage.claims import Claimed
from snapmanage.manage.settling import Outcome, Resolution
from snapmanage.testing.waiting import until
from snapmanage.volume.driver_call import Limits
from snapmanage.volume.driver_pool import HUNG_POOLS, Answer, DriverPool
from tests import examples

SNAPSHOT = examples.snapshot()
ONE = Claimed(SNAPSHOT)
FOUND = Resolution(SNAPSHOT, examples.found(), "managed")
OVER = Outcome(SNAPSHOT)
TWO = Limits(threads=2, calls_of_a_step=2)


class HangingDriver:
    """A driver whose calls hang until a test releases them; `answers` holds the answers that the pool reported."""

    def __init__(self, threads: int) -> None:
        self.begun: list[threading.Event] = []
        self.answers: list[Answer] = []
        self.calls = DriverPool(f"driver {id(self)}", Limits(threads, threads), self._call, self.answers.append)

    def __enter__(self) -> "HangingDriver":
        return self

    def __exit__(self, *exception: object) -> None:
        self.calls.stop()
        for call in self.begun:
            call.set()

    @property
    def threads(self) -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name.startswith(f"driver {id(self)} ")]

    def submit(self, number: int) -> None:
        """Submit this number of operations."""
        self.calls.submit([ONE] * number)

    def wait_for_calls(self, number: int) -> None:
        until(lambda: len(self.begun) == number, f"{number} calls to begin")

    def _call(self, claimed: Sequence[Claimed]) -> list[Answer]:
        mine, number = threading.Event(), len(self.begun)
        self.begun.append(mine)
        mine.wait(60)
        return [replace(OVER, error=errors.BackendError(str(number)))]

    def answered_numbers(self) -> list[str]:
        """Return the numbers of the answered calls."""
        return [str(answer.error) for answer in self.answers if isinstance(answer, Outcome)]


@pytest.fixture
def driver() -> Iterator[HangingDriver]:
    """Yield a driver with one thread."""
    with HangingDriver(threads=1) as driver:
        yield driver


def test_calls_run_in_parallel_up_to_the_limit() -> None:
    with HangingDriver(threads=2) as driver:
        driver.submit(3)
        driver.wait_for_calls(2)
        assert len(driver.threads) == 2

        driver.begun[0].set()

        driver.wait_for_calls(3)


def test_no_call_starts_after_stop(driver: HangingDriver) -> None:
    driver.submit(1)
    driver.wait_for_calls(1)
    driver.submit(1)
    driver.calls.stop()
    driver.begun[0].set()

    until(lambda: not driver.threads, "the thread to end")
    assert len(driver.begun) == 1


@pytest.mark.parametrize("ends", [[OVER], [FOUND, OVER]], ids=["one step", "two steps"])
def test_capacity_of_a_fast_driver_is_larger_than_that_of_an_unmeasured_one(ends: list[Answer]) -> None:
    results = itertools.cycle(ends)
    calls = DriverPool("driver", TWO, lambda claimed: [next(results)], lambda answer: None)
    unknown = calls.capacity(0.5)

    def is_fast() -> bool:
        """Return whether the mean time of calls is short; one slow call on a busy machine raises it for a while."""
        calls.submit([ONE] * 200)
        return calls.capacity(0.5) > 100

    until(is_fast, "the pool to measure fast calls")
    assert unknown <= 2
    calls.stop()


def test_driver_that_has_only_resolved_so_far_is_not_assumed_to_be_fast() -> None:
    found: list[Answer] = []
    calls = DriverPool("driver", TWO, lambda claimed: [FOUND], found.append)

    calls.submit([ONE] * 200)

    until(lambda: len(found) == 200, "the calls to be over")
    assert calls.capacity(0.5) <= 2
    calls.stop()


def test_hung_call_is_abandoned_once_and_its_thread_is_replaced(driver: HangingDriver) -> None:
    driver.submit(2)
    driver.wait_for_calls(1)

    assert driver.calls.abandon(60) == []
    assert driver.calls.abandon(0) == [ONE]
    driver.wait_for_calls(2)
    driver.begun[1].set()

    until(lambda: driver.answered_numbers() == ["1"], "the answer of the second")
    assert driver.calls.abandon(0) == []


def test_answer_of_an_abandoned_call_is_dropped_and_its_thread_ends(driver: HangingDriver) -> None:
    driver.submit(1)
    driver.wait_for_calls(1)
    [hanging] = driver.threads
    driver.calls.abandon(0)

    driver.begun[0].set()
    hanging.join(10)

    assert not hanging.is_alive()
    assert driver.answers == []
    assert len(driver.threads) == 1


def test_queued_operations_are_abandoned_too_if_every_thread_hangs() -> None:
    most = HUNG_POOLS * 2
    with HangingDriver(threads=2) as driver:
        driver.submit(most + 1)
        for begun in range(2, most + 1, 2):
            driver.wait_for_calls(begun)
            assert driver.calls.abandon(0) == [ONE, ONE] + [ONE] * (begun == most)

        driver.submit(1)
        assert driver.calls.abandon(0) == [ONE]
        assert len(driver.threads) == most


def test_driver_is_called_again_once_its_calls_return(driver: HangingDriver) -> None:
    driver.submit(HUNG_POOLS)
    for begun in range(1, HUNG_POOLS + 1):
        driver.wait_for_calls(begun)
        driver.calls.abandon(0)

    driver.begun[0].set()
    driver.submit(1)

    driver.wait_for_calls(HUNG_POOLS + 1)
    driver.begun[-1].set()
    until(lambda: driver.answered_numbers() == [str(HUNG_POOLS)], "the answer")


def test_calls_start_once_the_system_has_a_thread_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with HangingDriver(threads=2) as driver:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread)
            driver.submit(2)

        assert driver.calls.abandon(60) == []

        driver.wait_for_calls(2)


def no_thread(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
