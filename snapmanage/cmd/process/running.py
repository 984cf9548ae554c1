"""The life of a main: start, wait for a signal, shut down, exit."""

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
# Shutdown time of a process without operations.
ENDING_SECONDS = 10.0

# Interval of checks for a signal that arrived just before the process began to wait, and so did not wake it.
CHECK_SECONDS = 0.5
# A signal handler may interrupt the thread that waits here; `SimpleQueue.put` is reentrant, `Event.set` is not.
_stopped: queue.SimpleQueue[None] = queue.SimpleQueue()


def until_stopped(ready: str, ending_seconds: float = ENDING_SECONDS) -> None:
    """Print `ready`, and wait for SIGTERM or Ctrl-C; a second signal kills the process.

    After the signal the process exits within `ending_seconds`, even if a broker or a database hangs. A worker process
    gets no signals here: its supervisor's library calls `stop`.
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
            return _stopped.get(timeout=CHECK_SECONDS)


def stop() -> None:
    """End the wait of `until_stopped`, like a signal."""
    _stopped.put(None)


def leave() -> None:
    """Exit 0 at once, even if a driver call hangs in a thread; its claim has been released."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


def _leave_anyway() -> None:
    LOG.warning("Shutdown timed out; exiting now. Unfinished operations are retried when their leases expire.")
    leave()


def main(run: Callable[[], int | None]) -> int:
    """Run a command, and return its exit code; print errors that an operator can fix in one line, without traceback."""
    try:
        crash.arm(os.environ)
        return run() or 0
    except (errors.SnapmanageError, cfg.Error) as error:
        return _print_error(str(error))
    except SQLAlchemyError as error:
        return _print_error(f"the database failed: {error}")


def _print_error(text: str) -> int:
    print(f"error: {text.splitlines()[0]}", file=sys.stderr)
    return 1
