"""A TCP proxy in front of a service, which a test can slow down, hang or break like a network."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from snapmanage.testing.services.process import LOOPBACK

_AT_ONCE = struct.pack("ii", 1, 0)


class Wire:
    """A proxy to a port of the loopback; `restore` ends `hang` and `slow`.

    `freeze` makes the present connections half open until they are closed: their data is lost. New connections work.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.connections = 0  # The number of connections that were ever made.
        self._frozen: set[socket.socket] = set()
        self._delay_seconds = 0.0
        self._may_pass = threading.Event()
        self._may_pass.set()
        threading.Thread(target=self._accept, name="wire", daemon=True).start()

    def freeze(self) -> None:
        self._frozen |= set(self._open_sockets())

    def hang(self) -> None:
        """Hold back all data, on new connections too."""
        self._may_pass.clear()

    def slow(self, seconds: float) -> None:
        """Delay each piece of data."""
        self._delay_seconds = seconds

    def restore(self) -> None:
        self._delay_seconds = 0.0
        self._may_pass.set()

    def reset(self) -> None:
        """Reset all connections, like a firewall that has lost its state."""
        for end in self._open_sockets():
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            _shut_down(end)

    def close(self) -> None:
        self.restore()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._open_sockets():
            _shut_down(end)

    def _open_sockets(self) -> list[socket.socket]:
        return [end for pair in list(self._pairs) for end in pair]

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._connect(near)

    def _connect(self, near: socket.socket) -> None:
        """Forward a connection; close it if the service doesn't listen."""
        try:
            far = socket.create_connection((LOOPBACK, self._target))
        except OSError:
            near.close()
            return
        self._pairs.append((near, far))
        self.connections += 1
        threading.Thread(target=self._carry, args=(near, far), name="wire", daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        """Forward data until both sides have closed; then remove the pair, since a test may open thousands."""
        back = threading.Thread(target=self._pump, args=(far, near), name="wire", daemon=True)
        back.start()
        self._pump(near, far)
        back.join()
        self._pairs.remove((near, far))
        for end in (near, far):
            self._frozen.discard(end)
            end.close()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._may_pass.wait()
                time.sleep(self._delay_seconds)
                if source not in self._frozen:
                    sink.sendall(data)
        if source not in self._frozen:
            with suppress(OSError):
                sink.shutdown(socket.SHUT_RDWR)


def _shut_down(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def wire_to(port: int) -> Iterator[Wire]:
    wire = Wire(port)
    try:
        yield wire
    finally:
        wire.close()
