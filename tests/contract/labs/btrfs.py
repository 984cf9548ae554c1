"""The laboratory of btrfs: a file system of its own, with quotas."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snapmanage.drivers.btrfs import trees
from snapmanage.drivers.btrfs.driver import BtrfsDriver
from snapmanage.drivers.system import privsep
from snapmanage.testing.services.storage import btrfs as btrfs_service
from snapmanage.testing.services.storage.btrfs import Btrfs

DATA_BYTES = 1024**2
LONGEST = "x" * 255


class BtrfsLab:
    """A folder on the file system, with one volume, and an inner folder for snapshots."""

    reports_storage_id = True
    reports_creation_time = True
    lists_volumes = True
    volume = "volume-1"
    legal_characters = "".join(map(chr, range(1, 128))).replace("/", "") + "é\u2028\U0001f600"
    scan = (trees, "read")
    impossible_names = ("../x", "//etc/passwd", "a//b", "a/", "./a", "a/..", "..", "a\0b", "\ud800", f"{LONGEST}x")

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
        # Without quotas each snapshot takes half the time.
        self.btrfs.btrfs("quota", "disable", str(self.btrfs.top))
        names = (f"storage/{self.name_of(f'many-{number}')}" for number in range(count))
        self.btrfs.add_snapshots(f"storage/{self.volume}", *names)

    def add_oddities(self) -> None:
        """Make every odd shape that this kernel supports: chains, names, places, and received snapshots."""
        self._add_chains()
        self._add_increments()
        self._add_names()
        self._add_places()
        self._add_parents()
        self.btrfs.btrfs("filesystem", "sync", str(self.folder))

    def _add_chains(self) -> None:
        """Make chains of snapshots of snapshots, as snapper, containers and rollbacks do."""
        self.snapshot(self.volume, "read-only-1")
        self.snapshot("read-only-1", "read-only-2")
        self.snapshot("read-only-2", "read-only-3")
        self.snapshot("read-only-1", "restored", read_only=False)
        self.snapshot("restored", "of-the-restored")
        self.snapshot(self.volume, "layer-1", read_only=False)
        self.snapshot("layer-1", "layer-2", read_only=False)
        (self.folder / ".snapshots/1").mkdir(parents=True)
        self.snapshot(self.volume, ".snapshots/1/snapshot")

    def _add_increments(self) -> None:
        """Receive a chain of increments, its first snapshot twice, and the start of one more."""
        (self.folder / "received").mkdir()
        (self.folder / "again").mkdir()
        for number in range(4):
            self.snapshot(self.volume, f"step-{number}")
            increment = ["-p", str(self.folder / f"step-{number - 1}")] if number else []
            stream = self.btrfs.send(*increment, f"storage/step-{number}")
            self.btrfs.receive(stream, "storage/received")
            if number < 2:
                self.btrfs.receive(stream, "storage/again")
        self.btrfs.receive(stream[:-10], "storage/again", whole=False)

    def _add_names(self) -> None:
        """Make names with every kind of character, ones that aren't UTF-8, and paths that are too long."""
        for name in (b"\xff", b"\\xff", b"folder-\xfe/inside", b"line\nbreak", b"tab\tand \x01", b"long-" + b"x" * 250):
            path = self.folder / os.fsdecode(name)
            path.parent.mkdir(exist_ok=True)
            self.snapshot(self.volume, os.fsdecode(name))
        self.snapshot(os.fsdecode(b"\xff"), "of-the-nameless")
        self.btrfs.add_deep_snapshots(f"storage/{self.volume}", "storage", (12, 18))

    def _add_places(self) -> None:
        """Put snapshots into other subvolumes, one of them read-only, and beneath another mount."""
        for name in ("holder", "holder-made-read-only"):
            self.add_volume(name)
            self.snapshot(self.volume, f"{name}/inner")
        self.btrfs.btrfs("property", "set", str(self.folder / "holder-made-read-only"), "ro", "true")
        for name in ("covered", "bound", "point"):
            (self.folder / name).mkdir()
        self.snapshot(self.volume, "covered/hidden")
        self.snapshot(self.volume, "mounted-on")
        self.snapshot(self.volume, "mounted-in-part", read_only=False)
        (self.folder / "mounted-in-part/data-1").mkdir()
        for kind, source, point in (
            ("-ttmpfs", "tmpfs", "covered"),
            ("-ttmpfs", "tmpfs", "mounted-on"),
            ("--bind", str(self.folder / "mounted-in-part/data-1"), "point"),
        ):
            btrfs_service.run("mount", kind, source, str(self.folder / point))

    def _add_parents(self) -> None:
        """Make snapshots whose parents lie outside of the folder, are gone, or are not cleaned up yet."""
        self.btrfs.add_volume("outside")
        self.btrfs.add_volume(os.fsdecode(b"outside-\xfd"))
        self.btrfs.add_snapshots("outside", "storage/of-the-outside", "outside-snapshot")
        self.btrfs.add_snapshots("outside-snapshot", "storage/of-a-snapshot-outside")
        self.btrfs.add_snapshots(os.fsdecode(b"outside-\xfd"), "storage/of-the-nameless-outside")
        self.btrfs.add_snapshots(".", "storage/of-the-top")
        self.add_volume("gone")
        self.snapshot("gone", "of-the-gone")
        self.snapshot("of-the-gone", "of-the-orphan")
        self.remove("gone")

    def snapshot(self, source: str, name: str, read_only: bool = True) -> None:
        self.btrfs.add_snapshots(f"storage/{source}", f"storage/{name}", read_only=read_only)

    def odd_names(self) -> set[str]:
        """Return every folder whose path isn't too long."""
        every = (os.path.join(place, name) for place, names, _ in os.walk(self.folder) for name in names)
        return {os.path.relpath(path, self.folder) for path in every}

    def orphan(self, name: str) -> None:
        self.btrfs.remove(f"storage/{self.volume}")

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
        """Return the count of quotas for a subvolume, as the tools report it."""
        shown = self.btrfs.btrfs("qgroup", "show", "--raw", str(self.btrfs.top)).splitlines()
        [line] = (line.split() for line in shown if line.endswith(f" {name}"))
        return int(line[1])


@contextmanager
def btrfs_lab(folder: Path) -> Iterator[BtrfsLab]:
    btrfs_service.require_kernel()
    privsep.start()
    with btrfs_service.mounted_btrfs(folder) as made:
        yield BtrfsLab(made)
