"""How a main ends, whatever it waits for."""

import signal
import subprocess
import sys

import pytest

# A main that hangs when it takes its leave, as one does whose broker or database hangs.
HANGING = """
import threading
from snapmanage.cmd import running

running.until_stopped("ready", ending_seconds=0.1)
threading.Event().wait()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_that_hangs_when_it_takes_its_leave_ends_all_the_same(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", HANGING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

        process.send_signal(number)

        try:
            assert process.wait(20) == 0
        finally:
            process.kill()
