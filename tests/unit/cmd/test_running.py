"""Shutdown of a process by a signal, also if the shutdown hangs."""

import queue
import signal
import subprocess
import sys

import pytest

from snapmanage.cmd.process import running

# A process that hangs while it shuts down, as if its broker or its database hung.
HANGING = """
import threading
from snapmanage.cmd.process import running

running.until_stopped("ready", shutdown_seconds=0.1)
threading.Event().wait()
"""


class Unwoken(queue.SimpleQueue[None]):
    """A queue whose first `get` is not woken, as if a signal had arrived just before it."""

    def __init__(self) -> None:
        super().__init__()
        self.checks = 0

    def get(self, block: bool = True, timeout: float | None = None) -> None:
        assert timeout is not None, "a reader without a time-out waits forever"
        self.checks += 1
        if self.checks == 1:
            raise queue.Empty
        return super().get(block, timeout)


def test_signal_that_arrives_just_before_the_process_waits_stops_it() -> None:
    unwoken = Unwoken()
    stop_request = running.StopRequest(unwoken)
    stop_request.make()

    stop_request.wait()

    assert unwoken.checks == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_that_hangs_during_shutdown_exits_after_the_time_out(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", HANGING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

        process.send_signal(number)

        try:
            assert process.wait(20) == 0
        finally:
            process.kill()
