"""Storage of the chaos tests: a folder of files, with a check of their content."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.fleet.renames import Renames
from tests.chaos.fleet.storage import VOLUME, Planted

GIB = 1024**3


@dataclass(frozen=True)
class PlantedFile(Planted):
    """A snapshot as the test created it: `content`, followed by a whole number of empty GiB."""

    content: bytes

    def matches(self, found: "Found") -> bool:
        """Return whether content and size are unchanged."""
        size = len(self.content) + (self.size_gb - 1) * GIB
        return found.size == size and found.begins[: len(self.content)] == self.content


@dataclass(frozen=True)
class Found:
    """A file at present; `begins` are its first bytes, more than the content of any planted snapshot."""

    name: str
    key: str
    begins: bytes
    size: int

    @classmethod
    def at(cls, path: Path) -> "Found | None":
        """Return the file at a path; read it all from one open file, since a server may rename it meanwhile."""
        with suppress(FileNotFoundError), path.open("rb") as file:
            status = os.fstat(file.fileno())
            return cls(path.name, str(status.st_ino), file.read(1024), status.st_size)
        return None


class FileStorage:
    """A backend of the driver `file`, see `Storage`."""

    def __init__(self, server: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.server = server
        self.folder = folder
        self.planted: dict[str, PlantedFile] = {}
        self.plant_volume(VOLUME)
        self._renames = Renames(folder)

    @property
    def section(self) -> str:
        return f"driver = file\ndirectory = {self.folder}\n"

    def plant_volume(self, name: str) -> str:
        """Create a volume that has no record, and return the name by which it can be registered."""
        (self.folder / name).write_bytes(b"a volume")
        return name

    def plant(self, name: str, volume: str = VOLUME) -> str:
        """Create a sparse file; the sizes alternate between 1, 2 and 3 GB."""
        full = f"{volume}@{name}"
        content = f"{self.server} {full}".encode()
        size_gb = 1 + len(self.planted) % 3
        (self.folder / full).write_bytes(content)
        os.truncate(self.folder / full, len(content) + (size_gb - 1) * GIB)
        self.planted[str((self.folder / full).stat().st_ino)] = PlantedFile(full, size_gb, content)
        return full

    def name_of(self, word: str) -> str:
        return f"{VOLUME}@{word}"

    def key_of(self, name: str) -> str | None:
        found = Found.at(self.folder / name)
        return found.key if found else None

    def key_in(self, backend_id: str) -> str:
        """Return the inode; the time of birth follows it."""
        return backend_id.partition("-")[0]

    def renames(self) -> Counter[tuple[str, str]]:
        return Counter(self._renames.seen())

    def deviations(self) -> list[str]:
        there = {each.key: each for path in self.folder.glob("*@*") if (each := Found.at(path))}
        lost = [f"{each.name} is gone" for key, each in self.planted.items() if key not in there]
        unexpected = [f"{each.name} was not there" for key, each in there.items() if key not in self.planted]
        changed = [
            f"{each.name} has other data"
            for key, each in there.items()
            if key in self.planted and not self.planted[key].matches(each)
        ]
        return [f"{self.server}: {text}" for text in lost + unexpected + changed]


@contextmanager
def file_storage(server: str, folder: Path) -> Iterator[FileStorage]:
    yield FileStorage(server, folder)
