"""Accepts connections, limits their number and their memory, and checks their deadlines."""

import errno
import logging
import resource
import threading
import time
from collections import deque
from typing import Any

from waitress import wasyncore
from waitress.server import TcpWSGIServer

from snapmanage.api.answers import faults
from snapmanage.api.serving.budgets import Budget
from snapmanage.api.serving.channels import Channel, Deadlines, Phase
from snapmanage.api.serving.refusals import Refusal
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
# Bytes of answers that clients have not read yet, and of requests that are not answered, on all connections.
MOST_UNSENT = 1 << 26
MOST_HELD = 1 << 26
# Received bytes after which all connections are checked; a check costs microseconds for each connection.
CHECK_BYTES = 1 << 22
WARNING_INTERVAL_SECONDS = 60.0
MORE_FILES = "raise the limit of open files (RLIMIT_NOFILE) if the clients are yours"
TOO_MANY = "Too many large requests are arriving or waiting; repeat this one later."
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
        self.stopping = self._awake = self._may_accept = False
        self._waking = threading.Lock()
        self._deadlines = deadlines
        self._limit = connection_limit()
        self._refused: deque[Channel] = deque()
        self._disconnected: deque[Channel] = deque()
        self._unsent = Budget(MOST_UNSENT, lambda each: each.total_outbufs_len, self.disconnect)
        self._held = Budget(MOST_HELD - CHECK_BYTES, lambda each: each.held_bytes, self._refuse)
        self._unchecked_bytes = 0
        self._accept_at = self._check_at = self._warn_at = 0.0
        super().__init__(application, bind_socket=False, **adjusted)

    def readable(self) -> bool:
        """Return whether to accept connections; without room, clients wait in the backlog."""
        return self.accepting and time.monotonic() >= self._accept_at and self._has_room()

    def handle_accept(self) -> None:
        """Let the loop accept connections after its other events.

        A new connection may get the descriptor of one that is closed for it, and an event of that one would close it.
        """
        self._may_accept = True

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
        if self._may_accept:
            self._may_accept = False
            self._accept()
        now = time.monotonic()
        if now >= self._check_at:
            self._check_at = now + CHECK_SECONDS
            for channel in self._channels():
                channel.check_deadline(now, self._deadlines)

    def drain(self, seconds: float) -> None:
        """Finish the requests that have arrived, for at most so many seconds, and close everything."""
        self._accept()  # connections that wait in the backlog
        self.stopping = True
        wasyncore.dispatcher.close(self)
        deadline = time.monotonic() + seconds
        self.handle_events(0)
        while time.monotonic() < deadline and any(each.phase in _BUSY for each in self._channels()):
            self.handle_events(DRAIN_SECONDS)
        self.task_dispatcher.shutdown(timeout=max(0.0, deadline - time.monotonic()))
        with self._waking:
            self._awake = True  # a thread that still runs must not write to the closed pipe
        wasyncore.close_all(self._map)

    def pull_trigger(self) -> None:
        """Wake the loop, from any thread, with one byte for each call of `handle_events`.

        A thread that writes into a full pipe would hang, with a lock that the loop needs.
        """
        with self._waking:
            if not self._awake:
                self._awake = True
                super().pull_trigger()

    def limit_unsent(self, writing: Channel) -> None:
        """Close connections if all unsent answers need too much memory, but not the one that a thread writes to."""
        self._unsent.enforce(self._channels(), spared=writing)

    def limit_held(self, added: int) -> None:
        """Refuse requests if all that are not answered need too much memory; `added` bytes of them have arrived."""
        self._unchecked_bytes += added
        if self._unchecked_bytes >= CHECK_BYTES:
            self._unchecked_bytes = 0
            self._held.enforce(self._channels())

    def disconnect(self, channel: Channel) -> bool:
        """Close a connection soon, from any thread, even if its client reads nothing."""
        channel.discard()
        self._disconnected.append(channel)
        self.pull_trigger()
        return True

    def _refuse(self, channel: Channel) -> bool:
        """Release the memory of a request; return False if a thread handles it."""
        if channel.phase is Phase.ANSWER:
            return self.disconnect(channel)
        if channel.request is None and not self.task_dispatcher.withdraw(channel):
            return False
        channel.refuse(Refusal(503, TOO_MANY, faults.RETRY_LATER))
        self._warn(
            "Requests that arrive or wait need too much memory; refusing those of the client that holds most",
            "add processes or threads if the clients are yours",
            limit_bytes=MOST_HELD,
            client=channel.client,
        )
        return True

    def _has_room(self) -> bool:
        return len(self.active_channels) < self._limit or any(
            each.phase is not Phase.RUNNING for each in self._channels()
        )

    def _accept(self) -> None:
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
                self._warn(
                    "Too many connections; closing those that have waited longest for their client",
                    MORE_FILES,
                    limit=self._limit,
                )
            self._add(*accepted)

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
            self._warn(
                "No connection can be accepted; trying again every second",
                MORE_FILES,
                limit=self._limit,
                reason=error,
            )

    def _warn(self, text: str, remedy: str, **values: object) -> None:
        """Log at most one line a minute: an attack must not fill the log."""
        now = time.monotonic()
        if now >= self._warn_at:
            self._warn_at = now + WARNING_INTERVAL_SECONDS
            LOG.warning("%s: %s; %s", text, fields(open=len(self.active_channels), **values), remedy)

    def _channels(self) -> list[Channel]:
        return list(self.active_channels.values())
