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


def _fail(text: str) -> int:
    print(f"error: {text.splitlines()[0]}", file=sys.stderr)
    return 1
