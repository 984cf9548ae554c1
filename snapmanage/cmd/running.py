"""How a main lives: start, wait for a signal, stop, exit."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from snapmanage import errors

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def until_stopped(ready: str) -> None:
    """Say that it is ready, and wait for SIGTERM or Ctrl-C; a second one kills."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        for known in SIGNALS:
            signal.signal(known, signal.SIG_DFL)
        stopped.set()

    for known in SIGNALS:
        signal.signal(known, stop)
    print(ready, flush=True)
    stopped.wait()


def leave(finished: bool) -> None:
    """Exit 0 even where a driver hangs in a thread that can't be stopped: its work was given back."""
    if not finished:
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)


def main(run: Callable[[], int | None]) -> int:
    """Run a command; what is wrong with its configuration is told in a line, not in a traceback."""
    try:
        return run() or 0
    except errors.SnapmanageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
