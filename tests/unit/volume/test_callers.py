"""The threads that answer calls refuse a call while too many others wait."""

import threading
from collections.abc import Iterator

import pytest

from snapmanage import errors
from snapmanage.testing.waiting import until
from snapmanage.volume.callers import MOST_CALLS, THREADS, Callers
from tests.examples import SERVER


@pytest.fixture
def callers() -> Iterator[Callers]:
    made = Callers(SERVER)
    yield made
    made.shutdown()


def submitted(callers: Callers) -> bool:
    try:
        callers.submit(lambda: None)
    except errors.Unavailable:
        return False
    return True


def test_call_beyond_sixteen_is_refused_with_the_name_of_the_backend(callers: Callers) -> None:
    release = threading.Event()
    for _ in range(MOST_CALLS):
        callers.submit(lambda: release.wait(60))

    with pytest.raises(errors.Unavailable, match=rf"calls that wait for {SERVER} is reached \(16\)"):
        callers.submit(lambda: None)

    release.set()
    until(lambda: submitted(callers), "a call to be accepted again")


def test_four_calls_are_answered_at_a_time() -> None:
    server, release = "storage-1@four", threading.Event()  # threads of other tests may still be ending
    callers = Callers(server)

    for _ in range(THREADS + 1):
        callers.submit(lambda: release.wait(60))

    answering = [thread for thread in threading.enumerate() if thread.name.startswith(f"caller {server}")]
    release.set()
    callers.shutdown()
    assert len(answering) == THREADS == 4


def test_failed_call_makes_room(callers: Callers) -> None:
    for _ in range(3 * MOST_CALLS):
        until(lambda: submitted(callers), "room for a call")


def test_call_that_no_thread_takes_makes_room() -> None:
    stopped = Callers(SERVER)
    stopped.shutdown()

    for _ in range(2 * MOST_CALLS):
        with pytest.raises(RuntimeError):
            stopped.submit(lambda: None)
