"""The laboratory of ZFS: a pool of its own, on a zfs-fuse that all share."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from snapmanage.drivers import commands, privileged
from snapmanage.drivers.zfs import ZfsDriver
from tests.services.zfs_fuse import ZfsFuse

DEADLINE_SECONDS = 30
DATASETS = 125


class ZfsLab:
    """A dataset on the pool, with a volume in it, which is a file system: zfs-fuse has no others."""

    legal_characters = "-abcxyzABCXYZ0189_.: "
    scan = (commands, "run")

    def __init__(self, zfs: ZfsFuse, pool: str) -> None:
        self.zfs = zfs
        self.pool = pool
        self.dataset = f"{pool}/storage"
        self.volume = f"{self.dataset}/volume-1"
        self.impossible_names = (
            *("/etc/passwd", "-x@y", f"{self.volume}@a+b", f"{self.volume}@a/b", f"{self.volume}@a@b", "\ud800@x"),
            *(f"{self.volume}@", f"{self.volume}#mark", f"{self.dataset}/@x", f"{self.volume}@{'x' * 255}"),
            *(f"{self.volume}@é", f"{self.volume}@a\tb"),
        )
        zfs.run("zfs", "create", self.dataset)
        self.add_volume("volume-1")
        self.driver = ZfsDriver(self.dataset, command_timeout_seconds=DEADLINE_SECONDS)
        self.size_bytes = int(zfs.run("zfs", "get", "-Hp", "-o", "value", "referenced", self.volume))

    def name_of(self, word: str) -> str:
        return f"{self.volume}@{word.replace('+', ':')}"

    def add_volume(self, word: str) -> str:
        self.zfs.run("zfs", "create", f"{self.dataset}/{word}")
        return f"{self.dataset}/{word}"

    def add_snapshot(self, name: str) -> None:
        self.zfs.run("zfs", "snapshot", name)

    def add_unusable(self, word: str) -> str:
        """Make a snapshot that waits for its holds to go, to be destroyed then."""
        name = self.name_of(word)
        self.add_snapshot(name)
        self.zfs.run("zfs", "hold", "mine", name)
        self.zfs.run("zfs", "destroy", "-d", name)
        return name

    def add_many(self, count: int) -> None:
        """Make them of the volume and of datasets beneath it: one command makes as many as there are of those."""
        datasets = [f"{self.volume}/inner-{number}" for number in range(DATASETS - 1)]
        for dataset in datasets:
            self.zfs.run("zfs", "create", dataset)
        assert count % DATASETS == 0
        for number in range(count // DATASETS):
            self.zfs.run("zfs", "snapshot", "-r", self.name_of(f"many-{number}"))

    def remove(self, name: str) -> None:
        self.zfs.run("zfs", "destroy", name)

    def names(self) -> set[str]:
        return set(self.zfs.run("zfs", "list", "-H", "-r", "-t", "snapshot", "-o", "name", self.dataset).splitlines())

    def go_away(self) -> None:
        self.zfs.run("zpool", "export", self.pool)

    def come_back(self) -> None:
        self.zfs.run("zpool", "import", "-d", str(self.zfs.folder), self.pool)


@contextmanager
def zfs_lab(zfs: ZfsFuse) -> Iterator[ZfsLab]:
    """A laboratory, with the driver's commands on the way to this zfs-fuse."""
    privileged.start()
    with pytest.MonkeyPatch.context() as patch, zfs.pool() as pool:
        patch.setitem(commands.ENVIRONMENT, "PATH", f"{zfs.path}:{commands.ENVIRONMENT['PATH']}")
        yield ZfsLab(zfs, pool)
