"""Laboratory of the qcow2 driver: a directory with one chain, made by QEMU's own tools."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snapmanage.drivers.qcow2.driver import Qcow2Driver
from snapmanage.testing.needs import require
from tests.contract.labs.qcow2_oddities import Oddities
from tests.services.storage import qemu


class Qcow2Lab:
    reports_storage_id = True
    reports_creation_time = True
    lists_volumes = True
    volume = "disk.qcow2"
    size_bytes = 3 * 1024**2
    impossible_names = ("../disk.qcow2", "/etc/passwd", "a\0b", "..", ".hidden.qcow2", "\ud800.qcow2", "/1")
    legal_characters = "".join(map(chr, range(1, 128))).replace("/", "") + "é\U0001f600"
    scan = (os, "scandir")

    def __init__(self, folder: Path) -> None:
        require(*qemu.PROGRAMS)
        self.folder = folder / "images"
        self.folder.mkdir()
        self.driver = Qcow2Driver(str(self.folder))
        self.volumes: set[str] = set()
        self.add_volume("disk")

    def name_of(self, word: str) -> str:
        return f"{word}.qcow2"

    def add_volume(self, word: str) -> str:
        name = self.name_of(word)
        qemu.create(self.folder / name, self.size_bytes)
        self.volumes.add(name)
        return name

    def add_snapshot(self, name: str) -> None:
        """Put a new image below the whole chain, as its lowest backing file."""
        bottom = self._chain()[-1]
        qemu.create(self.folder / name, self.size_bytes)
        self._rebase(bottom, name)

    def add_unusable(self, word: str) -> str:
        """Put an image below the chain that has a backing file outside the directory."""
        name = self.name_of(word)
        self.add_snapshot(name)
        qemu.qemu_img("rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/hostname", self.folder / name)
        return name

    def add_many(self, count: int) -> None:
        """Make a long chain of copies of one small image; a process for each image would take minutes."""
        names = [f"many-{number:04}.qcow2" for number in range(count)]
        self.add_snapshot(names[0])
        qemu.create(self.folder / names[1], self.size_bytes, names[0], "qcow2", "-o", "cluster_size=4096")
        model = (self.folder / names[1]).read_bytes()
        for below, name in itertools.pairwise(names[1:]):
            (self.folder / name).write_bytes(model.replace(names[0].encode(), below.encode()))
        self._rebase(self.volume, names[-1])

    def add_oddities(self) -> None:
        """Fill the directory with odd images, and put one below the volume that another volume shares."""
        Oddities(self.folder, self.size_bytes).make()
        self.add_snapshot("shared.qcow2")
        qemu.create(self.folder / "sharing.qcow2", self.size_bytes, "shared.qcow2")
        for image in (self.volume, "sharing.qcow2"):
            qemu.qemu_img("snapshot", "-c", "daily", self.folder / image)

    def odd_names(self) -> set[str]:
        """Return every visible file; the odd images form more chains than the one that `names` checks."""
        return {name for name in os.listdir(self.folder) if not name.startswith(".")}

    def orphan(self, name: str) -> None:
        images = self._chain()
        self._rebase(images[images.index(name) - 1])

    def remove(self, name: str) -> None:
        images = self._chain()
        position = images.index(name)
        self._rebase(images[position - 1], *images[position + 1 : position + 2])
        # The file continues to exist elsewhere, so no new file gets its inode number.
        (self.folder / name).rename(self.folder.parent / f"removed-{len(os.listdir(self.folder.parent))}")

    def names(self) -> set[str]:
        """Return all files but the volumes; check that QEMU finds them all below the volume."""
        found = {name for name in os.listdir(self.folder) if not name.startswith(".")} - self.volumes
        images = self._chain()
        assert sorted(images[1:]) == sorted(found)
        return found

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Open the volume as a running guest, which locks every file of the chain."""
        assert name in self.names()
        with qemu.held_open(self.folder / self.volume):
            yield

    def go_away(self) -> None:
        self.folder.rename(self.folder.with_name("gone"))

    def come_back(self) -> None:
        self.folder.with_name("gone").rename(self.folder)

    def _chain(self) -> list[str]:
        paths = [Path(image["filename"]) for image in qemu.chain(self.folder / self.volume)]
        return [path.name for path in paths if path.parent == self.folder]

    def _rebase(self, name: str, backing: str = "") -> None:
        # QEMU takes the text before a colon for a protocol, unless a slash precedes it.
        backing_file_name = f"./{backing}" if ":" in backing else backing
        qemu.qemu_img("rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", backing_file_name, self.folder / name)
