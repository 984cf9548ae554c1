"""The storage that the chaos tests work on: a folder of files, and what must never happen to them."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.renames import Renames

VOLUME = "disk"
GIB = 1024**3


@dataclass(frozen=True)
class Planted:
    """A snapshot as it was put there: `content`, followed by a whole number of empty GiB."""

    name: str
    inode: int
    content: bytes
    size_gb: int

    def unchanged(self, path: Path) -> bool:
        with path.open("rb") as file:
            begins = file.read(len(self.content)) == self.content
        return begins and path.stat().st_size == len(self.content) + (self.size_gb - 1) * GIB


class Storage:
    """A backend of the file driver, with one volume; `server` is who owns it."""

    def __init__(self, server: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.server = server
        self.folder = folder
        self.planted: dict[int, Planted] = {}
        self.plant_volume(VOLUME)
        self._renames = Renames(folder)

    def plant_volume(self, name: str) -> str:
        (self.folder / name).write_bytes(b"a volume")
        return name

    def plant(self, name: str, volume: str = VOLUME) -> str:
        """Put a snapshot there that only we know; returns the name by which it can be managed.

        One after another they are of 1, 2 and 3 GB, which take no room.
        """
        full = f"{volume}@{name}"
        content = f"{self.server} {full}".encode()
        size_gb = 1 + len(self.planted) % 3
        (self.folder / full).write_bytes(content)
        os.truncate(self.folder / full, len(content) + (size_gb - 1) * GIB)
        inode = (self.folder / full).stat().st_ino
        self.planted[inode] = Planted(full, inode, content, size_gb)
        return full

    def renames(self) -> Counter[tuple[str, str]]:
        """How often each object went from which name to which."""
        return Counter(self._renames.seen())

    def damage(self) -> list[str]:
        """What was planted and isn't there any more, exactly once and unchanged."""
        found = {path.stat().st_ino: path for path in self.folder.glob("*@*")}
        lost = [f"{each.name} is gone" for inode, each in self.planted.items() if inode not in found]
        strange = [f"{path.name} was not there" for inode, path in found.items() if inode not in self.planted]
        changed = [
            f"{path.name} has other data"
            for inode, path in found.items()
            if inode in self.planted and not self.planted[inode].unchanged(path)
        ]
        return [f"{self.server}: {text}" for text in lost + strange + changed]

    def bears(self, name: str) -> int | None:
        """The inode of what bears a name."""
        path = self.folder / name
        return path.stat().st_ino if path.exists() else None
