"""A thread that works while its owner goes on reading the broker's heartbeats."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future

Work = Callable[[], None]


class HandlerThread:
    """One daemon thread, which does one piece of work after the other."""

    def __init__(self, name: str) -> None:
        self._waiting: queue.SimpleQueue[tuple[Work, Future[None]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """End after what was given to it."""
        self._waiting.put(None)

    def begin(self, work: Work) -> Future[None]:
        """Return what becomes of the work."""
        done: Future[None] = Future()
        self._waiting.put((work, done))
        return done

    def _run(self) -> None:
        while given := self._waiting.get():
            work, done = given
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - its owner gets it
                done.set_exception(error)
            else:
                done.set_result(None)
