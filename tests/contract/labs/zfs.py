"""The laboratory of ZFS: a pool of its own, on a shared zfs-fuse."""

import re
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from snapmanage.drivers.system import commands, privsep
from snapmanage.drivers.zfs.driver import ZfsDriver
from snapmanage.testing.services.storage.zfs_fuse import ZfsFuse

DEADLINE_SECONDS = 30
DATASETS = 125
TRIES = 200
LABEL_BYTES = 4 * 1024**2
"""The offset on a device at which ZFS begins to count."""


class ZfsLab:
    """A dataset on the pool, with one volume. The volume is a file system, since zfs-fuse has no other kind."""

    reports_storage_id = True
    reports_creation_time = True
    lists_volumes = True
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
        """Make a snapshot that ZFS destroys once its hold is released."""
        name = self.name_of(word)
        self.add_snapshot(name)
        self.zfs.run("zfs", "hold", "mine", name)
        self.zfs.run("zfs", "destroy", "-d", name)
        return name

    def add_many(self, count: int) -> None:
        """Make snapshots of the volume and of datasets beneath it: one command makes a snapshot of each."""
        datasets = [f"{self.volume}/inner-{number}" for number in range(DATASETS - 1)]
        for dataset in datasets:
            self.zfs.run("zfs", "create", dataset)
        assert count % DATASETS == 0
        for number in range(count // DATASETS):
            self.zfs.run("zfs", "snapshot", "-r", self.name_of(f"many-{number}"))

    def add_oddities(self) -> None:
        """Make every odd shape that zfs-fuse supports: replicas, twins, clones, promotion, holds, odd names."""
        self.add_snapshot(self.name_of("sent"))
        self.send([], "sent", f"{self.dataset}/replica")
        self.add_twins("sent")
        self.add_unusable("to-be-destroyed")
        self._add_increments()
        self._add_clones()
        self._add_long_and_odd_names()
        self.add_snapshot(self.name_of("held"))
        self.zfs.run("zfs", "hold", "mine", self.name_of("held"))
        self.zfs.run("zfs", "create", "-o", "readonly=on", "-o", "canmount=off", f"{self.volume}/inner")
        self.zfs.run("zfs", "snapshot", "-r", f"{self.dataset}@z")

    def _add_increments(self) -> None:
        """Make a chain of received increments, and a clone of its second snapshot."""
        for number in range(3):
            self.add_snapshot(self.name_of(f"step-{number}"))
            increment = ["-i", self.name_of(f"step-{number - 1}")] if number else []
            self.send(increment, f"step-{number}", f"{self.dataset}/increments")
        self.zfs.run("zfs", "clone", f"{self.dataset}/increments@step-1", f"{self.dataset}/restored")

    def _add_clones(self) -> None:
        """Make a clone of a clone, and promote another one, which takes over its origin's snapshot."""
        self.add_snapshot(self.name_of("origin"))
        self.zfs.run("zfs", "clone", self.name_of("origin"), f"{self.dataset}/clone")
        self.zfs.run("zfs", "snapshot", f"{self.dataset}/clone@inner")
        self.zfs.run("zfs", "clone", f"{self.dataset}/clone@inner", f"{self.dataset}/clone-of-clone")
        self.add_snapshot(self.name_of("promoted"))
        self.zfs.run("zfs", "clone", self.name_of("promoted"), f"{self.dataset}/new-head")
        self.zfs.run("zfs", "promote", f"{self.dataset}/new-head")

    def _add_long_and_odd_names(self) -> None:
        odd, long = f"{self.dataset}/a b:c.d_e", f"{self.dataset}/{'x' * (252 - len(self.dataset))}"
        for dataset in (odd, long):
            self.zfs.run("zfs", "create", dataset)
        self.zfs.run("zfs", "snapshot", f"{odd}@ {self.legal_characters}")
        self.zfs.run("zfs", "snapshot", f"{long}@y")

    def add_twins(self, word: str) -> tuple[str, str]:
        """Receive a snapshot twice at once, and retry until both copies share a guid and a transaction."""
        for number in range(TRIES):
            twins = [f"{self.dataset}/twin-{number}-{each}" for each in "ab"]
            with ThreadPoolExecutor(2) as receivers:
                list(receivers.map(lambda target: self.send([], word, target), twins))
            shown = {self.zfs.run("zfs", "get", "-Hp", "-o", "value", "createtxg", f"{twin}@{word}") for twin in twins}
            if len(shown) == 1:
                return f"{twins[0]}@{word}", f"{twins[1]}@{word}"
            for twin in twins:
                self.zfs.run("zfs", "destroy", "-r", twin)
        raise AssertionError(f"no two of {TRIES} pairs were received in one transaction")

    def send(self, options: Sequence[str], word: str, target: str) -> None:
        """Run `zfs send OPTIONS VOLUME@WORD | zfs receive TARGET`."""
        zfs = f"{self.zfs.path}/zfs"
        with subprocess.Popen([zfs, "send", *options, self.name_of(word)], stdout=subprocess.PIPE) as sending:
            subprocess.run([zfs, "receive", target], stdin=sending.stdout, check=True, timeout=60)

    def damage(self, name: str) -> None:
        """Overwrite the root block of a dataset or a snapshot while its pool is exported."""
        # zdb may fail on a pool that is imported and changes meanwhile.
        self.go_away()
        shown = self.zfs.enter("zdb", "-e", "-p", str(self.zfs.folder), "-vvvv", "-dd", name)
        root = next(line for line in shown.splitlines() if "rootbp" in line).partition("rootbp")[2]
        copies = [int(offset, 16) for offset in re.findall("<0:([0-9a-f]+):", root)]
        with (self.zfs.folder / self.pool).open("r+b") as device:
            for offset in copies:
                device.seek(offset + LABEL_BYTES)
                device.write(b"damaged" * 64)
        # The import succeeds; then the command fails to mount the damaged dataset.
        self.zfs.attempt("zpool", "import", "-d", str(self.zfs.folder), self.pool)

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
    """Yield a laboratory, with this zfs-fuse first in the PATH of the driver's commands."""
    privsep.start()
    with pytest.MonkeyPatch.context() as patch, zfs.pool() as pool:
        patch.setitem(commands.ENVIRONMENT, "PATH", f"{zfs.path}:{commands.ENVIRONMENT['PATH']}")
        yield ZfsLab(zfs, pool)
