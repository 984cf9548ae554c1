"""Files in one directory; the raw loop renames without fsync."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.storage.backends.backend import Backend, alone, behind, serial_names

VOLUME = "disk.img"


@contextmanager
def made(folder: Path, count: int) -> Iterator[Backend]:
    names = [f"{VOLUME}@{word}" for word in serial_names(count)]
    for name in (VOLUME, *names):
        (folder / name).write_bytes(bytes(4096))
    rename = alone(lambda old, new: os.rename(folder / old, folder / new))
    yield Backend(f"driver = file\ndirectory = {folder}", {VOLUME: names}, rename, behind("@"))
