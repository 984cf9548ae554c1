"""How a driver is called by several threads at once."""

import threading

from snapmanage.manage.operations import Claimed
from snapmanage.volume.calls import Calls
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

    until(lambda: not any(thread.name == "driver 0" for thread in threading.enumerate()), "the thread to end")
    assert len(begun) == 1


def test_fast_driver_gets_through_more_than_one_that_has_shown_nothing() -> None:
    calls = Calls("driver", 2, lambda claimed: None)
    unknown = calls.within(0.5)

    for _ in range(100):
        calls.submit(ONE)

    until(lambda: calls.within(0.5) > 100, "the pace to be seen")
    assert unknown <= 2
    calls.stop()
