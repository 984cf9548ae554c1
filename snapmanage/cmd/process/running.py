"""How a main lives: start, wait for a signal, stop, exit."""

import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from oslo_config import cfg
from sqlalchemy.exc import SQLAlchemyError

from snapmanage import crash, errors

LOG = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# How long a process without work in hand may take to end.
ENDING_SECONDS = 10.0

# How often a process looks for a signal that arrived in the moment before it began to wait, and so did not wake it.
LOOK_SECONDS = 0.5
# A signal may come at any moment, also while its handler's thread waits here: `put` is made for that, `Event.set` not.
_stopped: queue.SimpleQueue[None] = queue.SimpleQueue()


def until_stopped(ready: str, ending_seconds: float = ENDING_SECONDS) -> None:
    """Say that it is ready, and wait for SIGTERM or Ctrl-C; a second one kills.

    From then on it has `ending_seconds`, even where a broker or a database hangs that it takes leave of. One of
    several workers gets no signals here, but is told by `stop`.
    """

    def end(number: int, frame: FrameType | None) -> None:
        for known in SIGNALS:
            signal.signal(known, signal.SIG_DFL)
        _stopped.put(None)

    if threading.current_thread() is threading.main_thread():
        for known in SIGNALS:
            signal.signal(known, end)
    print(ready, flush=True)
    _wait_for_stop()
    latest = threading.Timer(ending_seconds, _leave_anyway)
    latest.daemon = True
    latest.start()


def _wait_for_stop() -> None:
    while True:
        with suppress(queue.Empty):
            return _stopped.get(timeout=LOOK_SECONDS)


def stop() -> None:
    """What a signal does."""
    _stopped.put(None)


def leave() -> None:
    """Exit 0 at once, even where a driver hangs in a thread that can't be stopped: its work was given back."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


def _leave_anyway() -> None:
    LOG.warning("The end takes too long; what is in hand goes on where its leases run out.")
    leave()


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
