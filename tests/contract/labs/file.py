"""Laboratory of the file driver: a directory of image files."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snapmanage.drivers.file import FileDriver


class FileLab:
    reports_storage_id = True
    reports_creation_time = True
    lists_volumes = True
    volume = "disk1.img"
    size_bytes = 3 * 1024**2 + 1
    impossible_names = ("../disk1.img@x", "/etc/passwd", "disk1.img@a/b", "disk1.img@\0", "..", ".hidden@x", "\ud800@x")
    legal_characters = "".join(map(chr, range(1, 128))).replace("/", "") + "é\U0001f600"
    scan = (os, "scandir")

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "images"
        self.folder.mkdir()
        self.driver = FileDriver(str(self.folder))
        self.add_volume(self.volume)

    def name_of(self, word: str) -> str:
        return f"{self.volume}@{word}"

    def add_volume(self, word: str) -> str:
        self._write(word)
        return word

    def add_snapshot(self, name: str) -> None:
        self._write(name)

    def add_many(self, count: int) -> None:
        for number in range(count):
            self._write(self.name_of(f"many-{number}"))

    def add_oddities(self) -> None:
        for name in ("daily", "a@b", "line\nbreak", "-rf", f"{'x' * 240}"):
            self._write(self.name_of(name))
        os.link(self.folder / self.name_of("daily"), self.folder / self.name_of("daily-too"))
        (self.folder / self.name_of("link")).symlink_to(self.name_of("daily"))
        (self.folder / self.name_of("folder")).mkdir()
        os.mkfifo(self.folder / self.name_of("fifo"))
        for name in ("gone.img@orphan", ".hidden@x", "@nameless", "disk1.img@", "link.img@orphan", "folder.img@orphan"):
            self._write(name)
        (self.folder / "link.img").symlink_to(self.volume)
        (self.folder / "folder.img").mkdir()
        Path(os.fsdecode(os.path.join(os.fsencode(self.folder), b"disk1.img@\xff"))).touch()

    def orphan(self, name: str) -> None:
        (self.folder / name.partition("@")[0]).rename(self.folder.parent / "orphaned")

    def remove(self, name: str) -> None:
        # The file continues to exist elsewhere, so no new file gets its inode number.
        (self.folder / name).rename(self.folder.parent / f"removed-{len(os.listdir(self.folder.parent))}")

    def names(self) -> set[str]:
        return {name for name in os.listdir(self.folder) if "@" in name}

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        with (self.folder / name).open("rb") as image:
            # A shared lock of another opening of the file, as a QEMU that only reads has.
            fcntl.lockf(image, fcntl.LOCK_SH, 1, 100)
            yield

    def go_away(self) -> None:
        self.folder.rename(self.folder.with_name("gone"))

    def come_back(self) -> None:
        self.folder.with_name("gone").rename(self.folder)

    def _write(self, name: str) -> None:
        with (self.folder / name).open("xb") as image:
            image.truncate(self.size_bytes)
