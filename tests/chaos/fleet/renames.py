"""Record all renames in a folder with inotify, including those of processes that have ended."""

import ctypes
import os
import struct
import weakref
from contextlib import suppress
from pathlib import Path

_MOVED_FROM, _MOVED_TO, _OVERFLOW = 0x40, 0x80, 0x4000
_EVENT = struct.Struct("iIII")

Rename = tuple[str, str]


class Renames:
    """The old and the new name of each rename, in order.

    No thread reads the events: the kernel holds some thousands until `seen` is called, and reports an overflow.
    """

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        assert self._fd >= 0, os.strerror(ctypes.get_errno())
        weakref.finalize(self, os.close, self._fd)  # of all processes together, a user may have 128
        watched = libc.inotify_add_watch(self._fd, os.fsencode(folder), _MOVED_FROM | _MOVED_TO)
        assert watched > 0, os.strerror(ctypes.get_errno())
        self._old: dict[int, str] = {}
        self._renames: list[Rename] = []

    def seen(self) -> list[Rename]:
        """Return the renames until now; the kernel records a rename before its system call returns."""
        with suppress(BlockingIOError):
            while True:
                self._read(os.read(self._fd, 65536))
        return list(self._renames)

    def _read(self, events: bytes) -> None:
        while events:
            _, mask, cookie, length = _EVENT.unpack_from(events)
            name = events[_EVENT.size : _EVENT.size + length].rstrip(b"\0").decode()
            events = events[_EVENT.size + length :]
            self._note(mask, cookie, name)

    def _note(self, mask: int, cookie: int, name: str) -> None:
        if mask & _OVERFLOW:
            self._renames.append(("inotify's queue", "overflowed"))
        elif mask & _MOVED_FROM:
            self._old[cookie] = name
        else:
            self._renames.append((self._old.pop(cookie, "another folder"), name))
