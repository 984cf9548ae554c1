"""Every rename in a folder, seen from outside by inotify: whoever did it, and whatever became of them."""

import ctypes
import os
import struct
import threading
from pathlib import Path

_MOVED_FROM, _MOVED_TO, _OVERFLOW = 0x40, 0x80, 0x4000
_EVENT = struct.Struct("iIII")

Rename = tuple[str, str]


class Renames:
    """`seen` holds the old and the new name of each, in their order."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_CLOEXEC)
        watched = libc.inotify_add_watch(self._fd, os.fsencode(folder), _MOVED_FROM | _MOVED_TO)
        assert watched > 0, os.strerror(ctypes.get_errno())
        self._folder = folder
        self._old: dict[int, str] = {}
        self._renames: list[Rename] = []
        self._caught_up = threading.Event()
        threading.Thread(target=self._read, name="renames", daemon=True).start()

    def seen(self) -> list[Rename]:
        """Those until now."""
        self._caught_up.clear()
        mark = self._folder / ".mark"
        mark.touch()
        mark.rename(self._folder / ".marked")
        assert self._caught_up.wait(20), "inotify doesn't tell"
        return list(self._renames)

    def _read(self) -> None:
        while True:
            heard = os.read(self._fd, 65536)
            while heard:
                _, mask, cookie, length = _EVENT.unpack_from(heard)
                name = heard[_EVENT.size : _EVENT.size + length].rstrip(b"\0").decode()
                heard = heard[_EVENT.size + length :]
                self._note(mask, cookie, name)

    def _note(self, mask: int, cookie: int, name: str) -> None:
        if mask & _OVERFLOW:
            self._renames.append(("inotify's queue", "overflowed"))
        elif mask & _MOVED_FROM:
            self._old[cookie] = name
        elif name == ".marked":
            self._caught_up.set()
        else:
            self._renames.append((self._old.pop(cookie, "another folder"), name))
