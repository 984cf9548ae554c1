"""snapmanage-volume that counts: its processes, the reports that it reads, its calls of the driver and their time.

Arguments: the file of the counts, a folder for the front of the PATH of commands or "", then the arguments of
snapmanage-volume.
"""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from benchmarks.storage import counting

CALLS = ("find_snapshots", "find_volumes", "manage_snapshots", "unmanage_snapshots")
Add = Callable[[str, float], None]


class Stopwatch:
    """Adds up the time in which at least one thread is in the driver."""

    def __init__(self, add: Add) -> None:
        self._add = add
        self._lock = threading.Lock()
        self._inside = 0
        self._since = 0.0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._since = time.perf_counter()
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._add("busy", time.perf_counter() - self._since)


def count_calls(batch: Any, add: Add) -> None:
    """Let the functions with which the server calls a driver count calls, entries and seconds."""
    stopwatch = Stopwatch(add)

    def counting_one(name: str, call: Callable[[Any, Sequence[Any]], Any]) -> Callable[[Any, Sequence[Any]], Any]:
        def counted(driver: Any, entries: Sequence[Any]) -> Any:
            add(f"call {name}", 1)
            add(f"entry {name}", len(entries))
            with stopwatch:
                return call(driver, entries)

        return counted

    for name in CALLS:
        setattr(batch, name, counting_one(name, getattr(batch, name)))


def count_images(rbd: Any, add: Add) -> None:
    """Let librbd's bindings count the images that are opened."""

    class Image(rbd.Image):  # type: ignore[misc]  # the bindings have no annotations
        def __init__(self, *arguments: Any, **named: Any) -> None:
            add("report image", 1)
            super().__init__(*arguments, **named)

    rbd.Image = Image


def main() -> None:
    path, folder = sys.argv.pop(1), sys.argv.pop(1)
    add = counting.install(path)

    from snapmanage import errors
    from snapmanage.drivers import batch
    from snapmanage.drivers.system import ceph_bindings, commands

    count_calls(batch, add)  # before the server imports these functions
    if folder:
        commands.ENVIRONMENT["PATH"] = f"{folder}:{commands.ENVIRONMENT['PATH']}"
    with suppress(errors.ConfigurationError):
        count_images(ceph_bindings.load().rbd, add)
    from snapmanage.cmd import volume

    sys.exit(volume.main())


if __name__ == "__main__":
    main()
