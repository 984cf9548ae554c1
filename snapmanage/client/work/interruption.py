"""End a command at Ctrl-C or SIGTERM between two requests, so that the journal is whole."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

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
    """Let Ctrl-C end the wait for a person's answer at once; raise `Interrupted` then."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted; nothing was started") from None
    finally:
        signal.signal(signal.SIGINT, before)
