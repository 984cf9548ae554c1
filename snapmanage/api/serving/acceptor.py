"""Accepts connections, limits their number and their memory, and checks their deadlines."""

import errno
import logging
import resource
import time
from collections import deque
from typing import Any

from waitress import wasyncore
from waitress.server import TcpWSGIServer

from snapmanage.api.serving.channels import Channel, Deadlines, Phase
from snapmanage.core.values.logfields import fields

LOG = logging.getLogger(__name__)

# The cost of each event grows with the number of connections.
MOST_CONNECTIONS = 2000
# For databases, brokers, files and child processes.
OTHER_FILES = 256
# Connections that one event accepts.
ACCEPTED_AT_ONCE = 64
CHECK_SECONDS = 0.25
DRAIN_SECONDS = 0.05
PAUSE_SECONDS = 1.0
# Of answers that clients have not read yet, on all connections.
MOST_UNSENT = 1 << 26
WARNING_INTERVAL_SECONDS = 60.0
_BUSY = (Phase.RUNNING, Phase.ANSWER)
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def connection_limit() -> int:
    """Return the number of connections that the limit of open files admits."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return min(MOST_CONNECTIONS, max(files // 4, files - OTHER_FILES))


class Acceptor(TcpWSGIServer):
    """The listening socket and its connections.

    At the limit it closes the connections that have waited longest for their client, so that silent connections
    do not lock out other clients. A connection whose request runs is never closed.
    """

    channel_class = Channel

    def __init__(self, application: Any, deadlines: Deadlines, **adjusted: Any) -> None:
        self.stopping = self._awake = False
        self._deadlines = deadlines
        self._limit = connection_limit()
        self._refused: deque[Channel] = deque()
        self._disconnected: deque[Channel] = deque()
        self._accept_at = self._check_at = self._warn_at = 0.0
        super().__init__(application, bind_socket=False, **adjusted)

    def readable(self) -> bool:
        """Return whether to accept connections; without room, clients wait in the backlog."""
        return self.accepting and time.monotonic() >= self._accept_at and self._has_room()

    def handle_accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            if not self._has_room():
                return
            try:
                accepted = self.accept()
            except OSError as error:
                return self._pause(error)
            if accepted is None:
                return
            if len(self.active_channels) >= self._limit:
                self._close_longest_waiting()
                self._warn("Too many connections; closing those that have waited longest for their client", None)
            self._add(*accepted)

    def add_task(self, channel: Channel) -> None:
        """Pass a complete request to a thread; malformed requests need none."""
        if channel.requests[0].error is None:
            self.task_dispatcher.add_task(channel)
        else:
            self._refused.append(channel)
            self.pull_trigger()

    def handle_events(self, timeout_seconds: float = CHECK_SECONDS) -> None:
        """Wait for events and handle them, answer malformed requests, and close connections at their deadlines."""
        self._awake = False  # before the look at the connections, so that no change is missed
        wasyncore.poll2(timeout_seconds, self._map)
        while self._refused:
            self._refused.popleft().service()
        while self._disconnected:
            self._disconnected.popleft().handle_close()
        now = time.monotonic()
        if now >= self._check_at:
            self._check_at = now + CHECK_SECONDS
            for channel in self._channels():
                channel.check_deadline(now, self._deadlines)

    def drain(self, seconds: float) -> None:
        """Finish the requests that have arrived, for at most so many seconds, and close everything."""
        self.handle_accept()  # connections that wait in the backlog
        self.stopping = True
        wasyncore.dispatcher.close(self)
        deadline = time.monotonic() + seconds
        self.handle_events(0)
        while time.monotonic() < deadline and any(each.phase in _BUSY for each in self._channels()):
            self.handle_events(DRAIN_SECONDS)
        self.task_dispatcher.shutdown(timeout=max(0.0, deadline - time.monotonic()))
        self._awake = True  # a thread that still runs must not write to the closed pipe
        wasyncore.close_all(self._map)

    def pull_trigger(self) -> None:
        """Wake the loop, from any thread, with one byte for each call of `handle_events`.

        A thread that writes into a full pipe would hang, with a lock that the loop needs.
        """
        if not self._awake:
            self._awake = True
            super().pull_trigger()

    def limit_unsent(self, writing: Channel) -> None:
        """Close the connections whose answers have waited longest, if all unsent answers need too much memory."""
        channels = [each for each in self._channels() if each.total_outbufs_len]
        excess = sum(each.total_outbufs_len for each in channels) - MOST_UNSENT
        for channel in sorted(channels, key=lambda each: each.since):
            if excess <= 0:
                return
            if channel is not writing:
                excess -= channel.total_outbufs_len
                self.disconnect(channel)

    def disconnect(self, channel: Channel) -> None:
        """Close a connection soon, from any thread, even if its client reads nothing."""
        channel.discard_unsent()
        self._disconnected.append(channel)
        self.pull_trigger()

    def _has_room(self) -> bool:
        return len(self.active_channels) < self._limit or any(
            each.phase is not Phase.RUNNING for each in self._channels()
        )

    def _add(self, connection: Any, address: Any) -> None:
        try:
            self.set_socket_options(connection)
        except OSError:  # the client has left
            connection.close()
        else:
            self.channel_class(self, connection, address, self.adj, map=self._map)

    def _close_longest_waiting(self) -> None:
        """Close a part of the connections that wait for their client."""
        waiting = [each for each in self._channels() if each.phase is not Phase.RUNNING]
        for channel in sorted(waiting, key=lambda each: each.since)[: 1 + self._limit // 16]:
            channel.handle_close()

    def _pause(self, error: OSError) -> None:
        if error.errno in _EXHAUSTED:
            self._accept_at = time.monotonic() + PAUSE_SECONDS
            self._close_longest_waiting()
            self._warn("No connection can be accepted; trying again every second", error)

    def _warn(self, text: str, error: OSError | None) -> None:
        """Log at most one line a minute: an attack must not fill the log."""
        now = time.monotonic()
        if now >= self._warn_at:
            self._warn_at = now + WARNING_INTERVAL_SECONDS
            counts = fields(limit=self._limit, open=len(self.active_channels), reason=error)
            LOG.warning("%s: %s; raise the limit of open files (RLIMIT_NOFILE) if the clients are yours", text, counts)

    def _channels(self) -> list[Channel]:
        return list(self.active_channels.values())
