"""The thread that handles messages has a pulse: a turn is one function."""

import threading

from snapmanage.bus.rabbit.handler_thread import HandlerThread
from snapmanage.testing.waiting import until


def test_function_that_hangs_is_a_hung_turn() -> None:
    release = threading.Event()
    thread = HandlerThread("handler")
    thread.start()
    assert thread.pulse.problem(-1) is None

    def hang() -> None:
        release.wait(20)

    done = thread.begin(hang)

    until(lambda: thread.pulse.problem(0.05), "the turn to be too long")
    release.set()
    done.result(20)
    thread.end()
    until(lambda: thread.pulse.problem(-1) is None, "the thread to be idle")
