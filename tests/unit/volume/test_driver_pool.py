"""How a driver is called by several threads at once, and what becomes of calls that hang."""

import itertools
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from snapmanage import errors
from snapmanage.manage.claims import Claimed
from snapmanage.manage.settling import Outcome, Resolution
from snapmanage.testing.waiting import until
from snapmanage.volume.driver_pool import HANGING, DriverPool, Step
from tests import examples

SNAPSHOT = examples.snapshot()
ONE = Claimed(SNAPSHOT)
FOUND = Resolution(SNAPSHOT, examples.found(), "managed")
OVER = Outcome(SNAPSHOT)


class Hanging:
    """Calls of a driver that hang, each until it is released; `answers` are those that were wanted."""

    def __init__(self, threads: int) -> None:
        self.begun: list[threading.Event] = []
        self.answers: list[Step] = []
        self.calls = DriverPool(f"driver {id(self)}", threads, self._call, self.answers.append)

    def __enter__(self) -> "Hanging":
        return self

    def __exit__(self, *exception: object) -> None:
        self.calls.stop()
        for call in self.begun:
            call.set()

    @property
    def threads(self) -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name.startswith(f"driver {id(self)} ")]

    def submit(self, number: int) -> None:
        """Submit so many calls, and see those begin for which there is a thread."""
        for _ in range(number):
            self.calls.submit(ONE)

    def begin(self, number: int) -> None:
        until(lambda: len(self.begun) == number, f"{number} calls to begin")

    def _call(self, claimed: Claimed) -> Step:
        mine, number = threading.Event(), len(self.begun)
        self.begun.append(mine)
        mine.wait(60)
        return replace(OVER, error=errors.BackendError(str(number)))

    def answered(self) -> list[str]:
        """The numbers of the calls whose answers were wanted."""
        return [str(answer.error) for answer in self.answers if isinstance(answer, Outcome)]


@pytest.fixture
def driver() -> Iterator[Hanging]:
    """A driver that is called by one thread."""
    with Hanging(threads=1) as driver:
        yield driver


def test_calls_run_side_by_side_up_to_the_limit() -> None:
    with Hanging(threads=2) as driver:
        driver.submit(3)
        driver.begin(2)
        assert len(driver.threads) == 2

        driver.begun[0].set()

        driver.begin(3)


def test_nothing_more_is_begun_after_stop(driver: Hanging) -> None:
    driver.submit(1)
    driver.begin(1)
    driver.submit(1)
    driver.calls.stop()
    driver.begun[0].set()

    until(lambda: not driver.threads, "the thread to end")
    assert len(driver.begun) == 1


@pytest.mark.parametrize("steps", [[OVER], [FOUND, OVER]], ids=["one step", "two steps"])
def test_fast_driver_gets_through_more_than_one_that_has_shown_nothing(steps: list[Step]) -> None:
    turns = itertools.cycle(steps)
    calls = DriverPool("driver", 2, lambda claimed: next(turns), lambda came: None)
    unknown = calls.within(0.5)

    def is_fast() -> bool:
        """Asked on and on: one call in which the machine stood still counts for a while."""
        for _ in range(200):
            calls.submit(ONE)
        return calls.within(0.5) > 100

    until(is_fast, "the pace to be seen")
    assert unknown <= 2
    calls.stop()


def test_driver_that_has_only_found_things_so_far_is_not_taken_for_fast() -> None:
    found: list[Step] = []
    calls = DriverPool("driver", 2, lambda claimed: FOUND, found.append)

    for _ in range(200):
        calls.submit(ONE)

    until(lambda: len(found) == 200, "the calls to be over")
    assert calls.within(0.5) <= 2
    calls.stop()


def test_call_that_hangs_is_given_up_once_and_another_thread_takes_its_place(driver: Hanging) -> None:
    driver.submit(2)
    driver.begin(1)

    assert driver.calls.given_up(60) == []
    assert driver.calls.given_up(0) == [ONE]
    driver.begin(2)
    driver.begun[1].set()

    until(lambda: driver.answered() == ["1"], "the answer of the second")
    assert driver.calls.given_up(0) == []


def test_answer_of_what_was_given_up_is_dropped_and_its_thread_ends(driver: Hanging) -> None:
    driver.submit(1)
    driver.begin(1)
    [hanging] = driver.threads
    driver.calls.given_up(0)

    driver.begun[0].set()
    hanging.join(10)

    assert not hanging.is_alive()
    assert driver.answers == []
    assert len(driver.threads) == 1


def test_of_a_driver_that_always_hangs_what_waits_is_given_up_too() -> None:
    most = HANGING * 2
    with Hanging(threads=2) as driver:
        driver.submit(most + 1)
        for begun in range(2, most + 1, 2):
            driver.begin(begun)
            assert driver.calls.given_up(0) == [ONE, ONE] + [ONE] * (begun == most)

        driver.submit(1)
        assert driver.calls.given_up(0) == [ONE]
        assert len(driver.threads) == most


def test_driver_that_hangs_no_more_is_called_again(driver: Hanging) -> None:
    driver.submit(HANGING)
    for begun in range(1, HANGING + 1):
        driver.begin(begun)
        driver.calls.given_up(0)

    driver.begun[0].set()
    driver.submit(1)

    driver.begin(HANGING + 1)
    driver.begun[-1].set()
    until(lambda: driver.answered() == [str(HANGING)], "the answer")


def test_calls_begin_once_the_system_has_a_thread_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with Hanging(threads=2) as driver:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread)
            driver.submit(2)

        assert driver.calls.given_up(60) == []

        driver.begin(2)


def no_thread(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
