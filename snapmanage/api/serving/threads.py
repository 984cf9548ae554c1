"""The threads of the HTTP server, and the requests that wait for one."""

from collections import deque
from typing import Any

from waitress.task import ThreadedTaskDispatcher

from snapmanage.pulse import Pulse


class ClientRoundRobin:
    """Connections whose requests wait for a thread, with the part of the interface of `deque` that waitress uses.

    Clients are served round robin, so that one with many connections does not delay the others; the requests of each
    client keep the order of their arrival.
    """

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._waiting: dict[str, deque[Any]] = {}  # the client that is served next is first
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __contains__(self, channel: Any) -> bool:
        return channel in self._waiting.get(channel.client, ())

    def append(self, channel: Any) -> None:
        self._waiting.setdefault(channel.client, deque()).append(channel)
        self._length += 1
        if self._length == 1:
            self._pulse.begin_turn()

    def popleft(self) -> Any:
        channels = next(iter(self._waiting.values()))
        return self._take(channels, channels[0])

    def remove(self, channel: Any) -> None:
        """Remove a connection that waits; its client goes to the end."""
        self._take(self._waiting[channel.client], channel)

    def _take(self, channels: deque[Any], channel: Any) -> Any:
        channels.remove(channel)
        self._length -= 1
        self._note_turn()
        del self._waiting[channel.client]
        if channels:
            self._waiting[channel.client] = channels
        return channel

    def _note_turn(self) -> None:
        """Begin a turn that ends when a thread takes the next request, unless none waits."""
        if self._length:
            self._pulse.begin_turn()
        else:
            self._pulse.end_turn()


class Threads(ThreadedTaskDispatcher):
    """Threads that handle complete requests, one of each client in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.pulse = Pulse("request")
        self.queue = ClientRoundRobin(self.pulse)

    def withdraw(self, channel: Any) -> bool:
        """Return whether the request of a connection waited for a thread; if so, no thread will handle it."""
        with self.lock:
            waits = channel in self.queue
            if waits:
                self.queue.remove(channel)
        return waits
