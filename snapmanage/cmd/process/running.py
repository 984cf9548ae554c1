"""The life of a main: start, wait for a signal, shut down, exit."""

import functools
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
from snapmanage.cmd.process import arguments, output

LOG = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Shutdown time of a process without operations.
SHUTDOWN_SECONDS = 10.0


class StopRequest:
    """The request to shut down, which a signal handler may make while it interrupts the thread that waits for it.

    Therefore it is a queue: `SimpleQueue.put` is reentrant, `Event.set` is not.
    """

    # A signal that arrives just before the thread waits does not wake it, so the thread checks at this interval.
    CHECK_SECONDS = 0.5

    def __init__(self, requests: queue.SimpleQueue[None] | None = None) -> None:
        self._requests = requests or queue.SimpleQueue[None]()

    def make(self) -> None:
        self._requests.put(None)

    def wait(self) -> None:
        while True:
            with suppress(queue.Empty):
                return self._requests.get(timeout=self.CHECK_SECONDS)


_stop_request = StopRequest()


def until_stopped(ready: str, shutdown_seconds: float = SHUTDOWN_SECONDS) -> None:
    """Print `ready`, and wait for SIGTERM or Ctrl-C; a second signal kills the process.

    After the signal the process exits within `shutdown_seconds`, even if a broker or a database hangs. A worker process
    gets no signals here: its supervisor's library calls `stop`.
    """

    def request_stop(number: int, frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        _stop_request.make()

    if threading.current_thread() is threading.main_thread():
        for each in SIGNALS:
            signal.signal(each, request_stop)
    output.line(ready)
    _stop_request.wait()
    time_out = threading.Timer(shutdown_seconds, _exit_unfinished)
    time_out.daemon = True
    time_out.start()


def stop() -> None:
    """End the wait of `until_stopped`, like a signal."""
    _stop_request.make()


def exit_now() -> None:
    """Exit 0 at once, even if a driver call hangs in a thread; its claim has been released."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


def _exit_unfinished() -> None:
    LOG.warning("Shutdown timed out; exiting now. Unfinished operations are retried when their leases expire.")
    exit_now()


def program(run: Callable[[], int | None]) -> Callable[[], int]:
    """Make a main of `run`: it returns the exit code, and prints errors that an operator can fix in one line."""

    @functools.wraps(run)
    def main() -> int:
        try:
            crash.arm(os.environ)
            arguments.require_printable(sys.argv[1:])
            return run() or 0
        except errors.SnapmanageError as error:
            output.error(str(error))
        except cfg.Error as error:
            output.error(_first_line(error))
        except SQLAlchemyError as error:
            output.error(f"the database failed: {_first_line(error)}")
        return 1

    return main


def _first_line(error: Exception) -> str:
    """Return the first line of a library's error; the other lines repeat a statement or a help text."""
    return str(error).partition("\n")[0]
