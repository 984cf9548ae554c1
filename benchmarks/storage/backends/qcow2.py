"""One chain of qcow2 images; the raw loop renames each file and runs `qemu-img rebase -u` on the image above it."""

import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.storage.backends.backend import Backend, alone, serial_names
from snapmanage.testing.needs import require

VOLUME = "disk.qcow2"
MIB = 1024**2


@contextmanager
def made(folder: Path, count: int) -> Iterator[Backend]:
    require("qemu-img")
    names = serial_names(count, "before-{:05}.qcow2")
    chain = Chain(folder, names)
    yield Backend(f"driver = qcow2\ndirectory = {folder}", {VOLUME: names}, alone(chain.rename), "raw-{}".format)


class Chain:
    """The images of a chain in their order, the lowest backing file first."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self._folder = folder
        self._images = [*names, VOLUME]
        self._create(names[0], [])
        self._create("model", ["-b", names[0], "-F", "qcow2", "-o", "cluster_size=4096"])
        # A process for each image would take minutes; the names have equal lengths.
        model = (folder / "model").read_bytes()
        (folder / "model").unlink()
        for below, name in itertools.pairwise(names):
            (folder / name).write_bytes(model.replace(names[0].encode(), below.encode()))
        self._create(VOLUME, [])
        self._rebase(VOLUME, names[-1])

    def rename(self, old: str, new: str) -> None:
        position = self._images.index(old)
        os.rename(self._folder / old, self._folder / new)
        self._images[position] = new
        self._rebase(self._images[position + 1], new)

    def _rebase(self, name: str, backing: str) -> None:
        self._qemu_img("rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", backing, name)

    def _create(self, name: str, options: list[str]) -> None:
        self._qemu_img("create", "-q", "-f", "qcow2", *options, name, str(MIB))

    def _qemu_img(self, *arguments: str) -> None:
        ended = subprocess.run(["qemu-img", *arguments], cwd=self._folder, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"qemu-img {arguments} failed: {ended.stderr}"
