"""A call has a deadline; its result or its exception reaches the caller."""

import threading

import pytest

from snapmanage import errors
from snapmanage.drivers.progress import Progress, reported, working_on
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


def test_each_entry_of_a_batch_has_the_whole_time_and_counts_for_the_callers_progress() -> None:
    progress, entries = Progress(), ["first", "second", "third"]

    def work() -> str:
        for entry in entries:
            working_on(entry)
            threading.Event().wait(0.4)
        return "done"

    with reported(progress):
        assert BoundedCalls().within_each(1, "working", work) == "done"
    assert (progress.begun, progress.current) == (3, "third")


def test_batch_is_abandoned_if_one_entry_hangs() -> None:
    release = threading.Event()

    def hang_at_the_second() -> None:
        working_on("first")
        working_on("second")
        release.wait(LONG)

    with pytest.raises(errors.BackendUnavailable, match="working took longer than"):
        BoundedCalls().within_each(0.01, "working", hang_at_the_second)
    release.set()
