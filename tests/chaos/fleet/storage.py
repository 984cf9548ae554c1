"""The storage of the chaos tests, a folder of files, with a check of their content."""

import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.fleet.renames import Renames

VOLUME = "disk"
GIB = 1024**3


@dataclass(frozen=True)
class Planted:
    """A snapshot as the test created it: `content`, followed by a whole number of empty GiB."""

    name: str
    inode: int
    content: bytes
    size_gb: int

    def matches(self, found: "Found") -> bool:
        """Return whether content and size are unchanged."""
        size = len(self.content) + (self.size_gb - 1) * GIB
        return found.size == size and found.begins[: len(self.content)] == self.content


@dataclass(frozen=True)
class Found:
    """A file at present; `begins` are its first bytes, more than the content of any planted snapshot."""

    name: str
    inode: int
    begins: bytes
    size: int

    @classmethod
    def at(cls, path: Path) -> "Found | None":
        """Return the file at a path; read it all from one open file, since a server may rename it meanwhile."""
        with suppress(FileNotFoundError), path.open("rb") as file:
            status = os.fstat(file.fileno())
            return cls(path.name, status.st_ino, file.read(1024), status.st_size)
        return None


class Storage:
    """A backend of the driver `file` with one volume; `server` owns the backend."""

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
        """Create a snapshot that has no record, and return the name by which it can be managed.

        The sizes alternate between 1, 2 and 3 GB; the files are sparse.
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
        """Return how often each rename, a pair of old and new name, was done."""
        return Counter(self._renames.seen())

    def deviations(self) -> list[str]:
        """Return a sentence for each snapshot that is missing, unexpected or changed."""
        there = {each.inode: each for path in self.folder.glob("*@*") if (each := Found.at(path))}
        lost = [f"{each.name} is gone" for inode, each in self.planted.items() if inode not in there]
        unexpected = [f"{each.name} was not there" for inode, each in there.items() if inode not in self.planted]
        changed = [
            f"{each.name} has other data"
            for inode, each in there.items()
            if inode in self.planted and not self.planted[inode].matches(each)
        ]
        return [f"{self.server}: {text}" for text in lost + unexpected + changed]

    def inode_of(self, name: str) -> int | None:
        """Return the inode of the file with a name; None if there is no such file."""
        found = Found.at(self.folder / name)
        return found.inode if found else None
