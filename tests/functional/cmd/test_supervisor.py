"""The supervisor of several processes of one main."""

import subprocess
import sys

PROGRAM = """
import atexit
import os
from snapmanage.cmd.process import running, supervisor

def serve():
    atexit.register(os.write, 1, b"finished\\n")
    running.until_stopped("ready")

supervisor.supervise(2, serve, drain_seconds=5)
"""


def test_each_process_finishes_its_work_before_it_exits() -> None:
    """CADF events that wait for the broker are sent by a function that is registered with `atexit`."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        started = [process.stdout.readline() for _ in range(2)]

        process.terminate()
        printed, _ = process.communicate(timeout=60)

    assert started == ["ready\n"] * 2
    assert printed.splitlines() == ["finished"] * 2
