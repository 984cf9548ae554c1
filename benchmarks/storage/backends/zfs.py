"""Snapshots of one dataset on a pool of zfs-fuse; the raw loop runs `zfs rename` for each."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.storage.backends.backend import Backend, alone, behind, serial_names
from snapmanage.testing.services.process import running
from snapmanage.testing.services.storage.zfs_fuse import ZfsFuse, require_namespaces

AT_ONCE = 100


@contextmanager
def made(folder: Path, count: int) -> Iterator[Backend]:
    require_namespaces()
    with running(ZfsFuse) as zfs, zfs.pool() as pool:
        dataset = f"{pool}/storage"
        volume = f"{dataset}/volume-1"
        for each in (dataset, volume):
            zfs.run("zfs", "create", each)
        names = [f"{volume}@{word}" for word in serial_names(count)]
        for name in names:
            zfs.run("zfs", "snapshot", name)

        def rename(old: str, new: str) -> None:
            zfs.run("zfs", "rename", old, new)

        yield Backend(f"driver = zfs\nzfs_dataset = {dataset}", {volume: names}, alone(rename), behind("@"), zfs.path)
