"""The laboratory of btrfs: a file system of its own, with quotas."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snapmanage.drivers import btrfs_trees, privileged
from snapmanage.drivers.btrfs import BtrfsDriver
from tests.services import btrfs as btrfs_service
from tests.services.btrfs import Btrfs

DATA_BYTES = 1024**2
LONGEST = "x" * 255


class BtrfsLab:
    """A folder on the file system, with a volume in it, and snapshots in a folder within."""

    volume = "volume-1"
    legal_characters = "".join(map(chr, range(1, 128))).replace("/", "") + "é\u2028\U0001f600"
    scan = (btrfs_trees, "read")
    impossible_names = ("../x", "/etc/passwd", "a//b", "a/", "./a", "a/..", "..", "a\0b", "\ud800", f"{LONGEST}x")

    def __init__(self, btrfs: Btrfs) -> None:
        self.btrfs = btrfs
        self.folder = btrfs.top / "storage"
        (self.folder / "snapshots").mkdir(parents=True)
        self.driver = BtrfsDriver(str(self.folder))
        btrfs.enable_quotas()
        self.add_volume(self.volume)
        (self.folder / self.volume / "data").write_bytes(bytes(DATA_BYTES))
        # Quotas count at a commit.
        btrfs.btrfs("filesystem", "sync", str(self.folder))
        self.size_bytes = self._referenced(f"storage/{self.volume}")

    def name_of(self, word: str) -> str:
        return f"snapshots/{word}"

    def add_volume(self, word: str) -> str:
        self.btrfs.add_volume(f"storage/{word}")
        return word

    def add_snapshot(self, name: str) -> None:
        self.btrfs.add_snapshots(f"storage/{self.volume}", f"storage/{name}")

    def add_many(self, count: int) -> None:
        # Without quotas each costs half.
        self.btrfs.btrfs("quota", "disable", str(self.btrfs.top))
        names = (f"storage/{self.name_of(f'many-{number}')}" for number in range(count))
        self.btrfs.add_snapshots(f"storage/{self.volume}", *names)

    def remove(self, name: str) -> None:
        self.btrfs.remove(f"storage/{name}")

    def names(self) -> set[str]:
        return {name.removeprefix("storage/") for name in self.btrfs.snapshots()}

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        with self.btrfs.mounted(f"storage/{name}"):
            yield

    def go_away(self) -> None:
        self.btrfs.unmount()

    def come_back(self) -> None:
        self.btrfs.mount()

    def _referenced(self, name: str) -> int:
        """What quotas say of a subvolume, by the tools' own account."""
        shown = self.btrfs.btrfs("qgroup", "show", "--raw", str(self.btrfs.top)).splitlines()
        [line] = (line.split() for line in shown if line.endswith(f" {name}"))
        return int(line[1])


@contextmanager
def btrfs_lab(folder: Path) -> Iterator[BtrfsLab]:
    btrfs_service.require_kernel()
    privileged.start()
    with btrfs_service.mounted_btrfs(folder) as made:
        yield BtrfsLab(made)
