"""How a main lives: start, wait for a signal, stop, exit."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from oslo_config import cfg
from sqlalchemy.exc import SQLAlchemyError

from snapmanage import crash, errors

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_stopped = threading.Event()


def until_stopped(ready: str) -> None:
    """Say that it is ready, and wait for SIGTERM or Ctrl-C; a second one kills.

    One of several workers gets no signals here, but is told by `stop`.
    """

    def end(number: int, frame: FrameType | None) -> None:
        for known in SIGNALS:
            signal.signal(known, signal.SIG_DFL)
        _stopped.set()

    if threading.current_thread() is threading.main_thread():
        for known in SIGNALS:
            signal.signal(known, end)
    print(ready, flush=True)
    _stopped.wait()


def stop() -> None:
    """What a signal does."""
    _stopped.set()


def leave() -> None:
    """Exit 0 at once, even where a driver hangs in a thread that can't be stopped: its work was given back."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


def main(run: Callable[[], int | None]) -> int:
    """Run a command; what an operator can mend is told in a line, not in a traceback."""
    try:
        crash.arm(os.environ)
        return run() or 0
    except (errors.SnapmanageError, cfg.Error) as error:
        return _fail(str(error))
    except SQLAlchemyError as error:
        return _fail(f"the database fails: {error}")


def several(count: int, live: Callable[[], None], drain_seconds: float) -> None:
    """Live in this process, or in several that this one supervises."""
    if count == 1:
        return live()
    from snapmanage.cmd import workers

    workers.supervise(count, live, drain_seconds)


def _fail(text: str) -> int:
    print(f"error: {text.splitlines()[0]}", file=sys.stderr)
    return 1
