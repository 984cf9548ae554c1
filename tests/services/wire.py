"""A TCP proxy that a test puts before a service, to be slow, to hang or to break as networks do."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from snapmanage.testing.services.process import LOOPBACK

_AT_ONCE = struct.pack("ii", 1, 0)


class Wire:
    """Carries connections to a port of the loopback; whatever it is told to do wrong, `mend` ends.

    `freeze` leaves what is connected half open for good: whatever is sent is swallowed, new connections work.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.connections = 0  # how many there have been
        self._frozen: set[socket.socket] = set()
        self._delay_seconds = 0.0
        self._whole = threading.Event()
        self._whole.set()
        threading.Thread(target=self._accept, name="wire", daemon=True).start()

    def freeze(self) -> None:
        self._frozen |= set(self._ends())

    def hang(self) -> None:
        """Let what is sent wait, on new connections too."""
        self._whole.clear()

    def slow(self, seconds: float) -> None:
        """Let whatever is read wait that long."""
        self._delay_seconds = seconds

    def mend(self) -> None:
        self._delay_seconds = 0.0
        self._whole.set()

    def reset(self) -> None:
        """Break what is connected with a reset, as a firewall does that has forgotten its connections."""
        for end in self._ends():
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            _let_go(end)

    def close(self) -> None:
        self.mend()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._ends():
            _let_go(end)

    def _ends(self) -> list[socket.socket]:
        return [end for pair in list(self._pairs) for end in pair]

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._connect(near)

    def _connect(self, near: socket.socket) -> None:
        """Nobody behind it is nobody here."""
        try:
            far = socket.create_connection((LOOPBACK, self._target))
        except OSError:
            near.close()
            return
        self._pairs.append((near, far))
        self.connections += 1
        threading.Thread(target=self._carry, args=(near, far), name="wire", daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        """Until neither side says anything more; a long test has thousands of connections, one after another."""
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
                self._whole.wait()
                time.sleep(self._delay_seconds)
                if source not in self._frozen:
                    sink.sendall(data)
        if source not in self._frozen:
            with suppress(OSError):
                sink.shutdown(socket.SHUT_RDWR)


def _let_go(end: socket.socket) -> None:
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
