"""A thread that handles messages while the consumer's thread reads the broker's heartbeats."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future

from snapmanage.pulse import Pulse

Work = Callable[[], None]


class HandlerThread:
    """One daemon thread that runs the given functions one after the other."""

    def __init__(self, name: str) -> None:
        self._waiting: queue.SimpleQueue[tuple[Work, Future[None]] | None] = queue.SimpleQueue()
        self.pulse = Pulse(name)
        self._thread = threading.Thread(target=self.pulse.watched(self._run), name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """End the thread after the functions that are queued."""
        self._waiting.put(None)

    def begin(self, work: Work) -> Future[None]:
        """Queue a function; return the future of its end."""
        done: Future[None] = Future()
        self._waiting.put((work, done))
        return done

    def _run(self) -> None:
        while given := self._waiting.get():
            work, done = given
            try:
                with self.pulse:
                    work()
            except BaseException as error:  # noqa: BLE001 - the future carries it to the owner
                done.set_exception(error)
            else:
                done.set_result(None)
