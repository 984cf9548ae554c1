"""A call has a deadline; its result or its exception reaches the caller."""

import threading

import pytest

from snapmanage import errors
from snapmanage.drivers.system.deadline import MOST_HUNG, BoundedCalls, within
from snapmanage.testing.waiting import until

LONG = 60


def test_result_of_the_call_is_returned() -> None:
    assert within(LONG, "answering", lambda: 42) == 42


@pytest.mark.parametrize("kind", [ValueError, TimeoutError, KeyboardInterrupt])
def test_exception_of_the_call_reaches_the_caller(kind: type[BaseException]) -> None:
    failure = kind()

    def fail() -> None:
        raise failure

    with pytest.raises(kind) as caught:
        within(LONG, "failing", fail)

    assert caught.value is failure


def test_overdue_call_is_abandoned_by_name_and_does_not_delay_the_exit() -> None:
    release = threading.Event()
    threads: list[threading.Thread] = []

    def hang() -> None:
        threads.append(threading.current_thread())
        release.wait(LONG)

    with pytest.raises(errors.BackendUnavailable, match="hanging took longer than"):
        within(0.01, "hanging", hang)

    until(lambda: threads, "the call to begin, which may take longer than it has")
    assert [thread.daemon for thread in threads] == [True]
    release.set()


def test_only_so_many_abandoned_calls_may_hang() -> None:
    calls, release = BoundedCalls(), threading.Event()

    for _ in range(MOST_HUNG):
        with pytest.raises(errors.BackendUnavailable, match="took longer than"):
            calls.within(0.01, "hanging", lambda: release.wait(LONG))
    with pytest.raises(errors.BackendUnavailable, match="was not tried, since 16 earlier calls still hang"):
        calls.within(LONG, "answering", lambda: 42)

    release.set()
    until(lambda: answered(calls), "a call to be tried again")


def answered(calls: BoundedCalls) -> bool:
    try:
        return calls.within(LONG, "answering", lambda: 42) == 42
    except errors.BackendUnavailable:
        return False
