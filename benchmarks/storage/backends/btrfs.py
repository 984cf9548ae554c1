"""Snapshots of one subvolume on a btrfs of its own; the raw loop renames their folders."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.storage.backends.backend import Backend, alone, behind, serial_names
from snapmanage.testing.services.storage.btrfs import mounted_btrfs, require_kernel

VOLUME = "volume-1"


@contextmanager
def made(folder: Path, count: int) -> Iterator[Backend]:
    require_kernel()
    with mounted_btrfs(folder) as btrfs:
        storage = btrfs.top / "storage"
        (storage / "snapshots").mkdir(parents=True)
        btrfs.add_volume(f"storage/{VOLUME}")
        names = [f"snapshots/{word}" for word in serial_names(count)]
        btrfs.add_snapshots(f"storage/{VOLUME}", *(f"storage/{name}" for name in names))
        rename = alone(lambda old, new: os.rename(storage / old, storage / new))
        yield Backend(f"driver = btrfs\nbtrfs_folder = {storage}", {VOLUME: names}, rename, behind("/"))
