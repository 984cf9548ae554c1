"""End a command at Ctrl-C or SIGTERM between two requests, so that the journal is whole."""

import select
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

from snapmanage.client.api.http import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stopping(stop: threading.Event) -> Iterator[None]:
    """Set `stop` at the first signal; a second signal ends the process at once."""

    def request_stop(number: int, frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        # A lock that the interrupted thread holds could block here forever.
        threading.Thread(target=stop.set, daemon=True).start()

    before = {each: signal.signal(each, request_stop) for each in SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def answering() -> Iterator[None]:
    """Raise `Interrupted` at once if a signal arrives during a question, or has arrived before it."""
    before = {each: signal.signal(each, signal.default_int_handler) for each in SIGNALS}
    try:
        if before[signal.SIGINT] == signal.SIG_DFL:  # `stopping` has received a first signal
            raise KeyboardInterrupt
        yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted; nothing was started") from None
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def wait_until_readable(stream: TextIO) -> None:
    """Wait until an input can be read, or a signal arrives.

    Python runs the handler of a signal between two of its instructions. If the signal arrives right before the system
    call `read`, that call would block first.
    """
    inside, outside = socket.socketpair()
    with inside, outside:
        outside.setblocking(False)
        before = signal.set_wakeup_fd(outside.fileno())
        try:
            select.select([stream.fileno(), inside.fileno()], [], [])
        finally:
            signal.set_wakeup_fd(before)
