"""How a driver is called by several threads at once, and what becomes of calls that hang."""

import threading
from collections.abc import Iterator

import pytest

from snapmanage.manage.claims import Claimed
from snapmanage.volume.calls import HANGING, Calls
from tests import examples
from tests.waiting import until

ONE = Claimed(examples.snapshot())


def test_calls_run_side_by_side_up_to_the_limit() -> None:
    running, release = threading.Semaphore(0), threading.Event()

    def call(claimed: Claimed) -> None:
        running.release()
        release.wait()

    calls = Calls("driver", 2, call)
    for _ in range(3):
        calls.submit(ONE)

    assert running.acquire(timeout=10)
    assert running.acquire(timeout=10)
    assert not running.acquire(blocking=False)
    release.set()
    assert running.acquire(timeout=10)
    calls.stop()


def test_nothing_more_is_begun_after_stop() -> None:
    begun, release = list[Claimed](), threading.Event()

    def call(claimed: Claimed) -> None:
        begun.append(claimed)
        release.wait()

    calls = Calls("driver", 1, call)
    calls.submit(ONE)
    until(lambda: begun, "the first call")
    calls.submit(ONE)
    calls.stop()
    release.set()

    until(lambda: not any(thread.name == "driver 1" for thread in threading.enumerate()), "the thread to end")
    assert len(begun) == 1


def test_fast_driver_gets_through_more_than_one_that_has_shown_nothing() -> None:
    calls = Calls("driver", 2, lambda claimed: None)
    unknown = calls.within(0.5)

    for _ in range(100):
        calls.submit(ONE)

    until(lambda: calls.within(0.5) > 100, "the pace to be seen")
    assert unknown <= 2
    calls.stop()


class Hanging:
    """Calls of a driver that hang, each until it is released; `answers` are those that were wanted."""

    def __init__(self, threads: int) -> None:
        self.begun: list[threading.Event] = []
        self.answers: list[int] = []
        self.calls = Calls(f"driver {id(self)}", threads, self._call, self.answers.append)

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

    def _call(self, claimed: Claimed) -> int:
        mine, number = threading.Event(), len(self.begun)
        self.begun.append(mine)
        mine.wait(60)
        return number


@pytest.fixture
def driver() -> Iterator[Hanging]:
    """A driver that is called by one thread."""
    with Hanging(threads=1) as driver:
        yield driver


def test_call_that_hangs_is_given_up_once_and_another_thread_takes_its_place(driver: Hanging) -> None:
    driver.submit(2)
    driver.begin(1)

    assert driver.calls.given_up(60) == []
    assert driver.calls.given_up(0) == [ONE]
    driver.begin(2)
    driver.begun[1].set()

    until(lambda: driver.answers == [1], "the answer of the second")
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
    until(lambda: driver.answers == [HANGING], "the answer")
