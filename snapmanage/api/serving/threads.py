"""The threads of the HTTP server, and the requests that wait for one."""

from typing import Any

from waitress.task import ThreadedTaskDispatcher


class Threads(ThreadedTaskDispatcher):
    """Threads that handle complete requests in the order of their arrival."""

    def withdraw(self, channel: Any) -> bool:
        """Return whether the request of a connection waited for a thread; if so, no thread will handle it."""
        with self.lock:
            waits = channel in self.queue
            if waits:
                self.queue.remove(channel)
        return waits
