"""A chain of images for renames, and functions that act or kill the worker between the steps of a rename."""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from snapmanage.core.backend import Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers.qcow2 import qemu_img
from snapmanage.drivers.qcow2.directory import LOCK
from snapmanage.drivers.qcow2.driver import Qcow2Driver
from tests.services.storage import qemu

SIZE = 1024**2
TOPS = ("disk.qcow2", "branch.qcow2")
FILES = {"base.img", "middle.qcow2", *TOPS}
T = TypeVar("T")
OLD, NEW = "middle.qcow2", "snapshot-1.qcow2"


class WorkerKilled(BaseException):
    """Stands for SIGKILL: no code of the driver handles it."""


class Chain:
    """Two volumes above one snapshot above a raw backing file, with data in each layer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.driver = Qcow2Driver(str(folder), command_timeout_seconds=20)
        self.recorded = {name: self.backing(name) for name in TOPS}

    @classmethod
    def make(cls, folder: Path) -> "Chain":
        folder.mkdir()
        (folder / "base.img").write_bytes(b"\x11" * SIZE)
        create(folder / "middle.qcow2", "base.img", "raw", 0x22)
        create(folder / "disk.qcow2", "middle.qcow2", "qcow2", 0x33)
        create(folder / "branch.qcow2", "./middle.qcow2", "qcow2", 0x44)
        return cls(folder)

    def copy_to(self, folder: Path) -> "Chain":
        """Copy the chain to a folder; there the first volume records an absolute path."""
        shutil.copytree(self.folder, folder)
        backing = f"{folder}/middle.qcow2"
        qemu.qemu_img("rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", backing, folder / "disk.qcow2")
        return Chain(folder)

    def backing(self, name: str) -> str:
        name_in_overlay: str = qemu.chain(self.folder / name)[0]["backing-filename"]
        return name_in_overlay

    def binding(self, name: str = OLD, managed_name: str = NEW) -> Binding:
        return Binding(self.driver.find_snapshot(Reference.named(name)).identity, name, managed_name)

    def names(self) -> set[str]:
        return {name for name in os.listdir(self.folder) if not name.startswith(".")}

    def check_data(self) -> None:
        """Read the data of each layer through the volumes."""
        for top, byte in zip(TOPS, (0x33, 0x44), strict=True):
            reads = [f"read -P {layer} {layer * 4096} 4096" for layer in (0x22, byte)]
            output = qemu.qemu_io(self.folder / top, "read -P 0x11 0 4096", *reads)
            assert "verification failed" not in output

    def check_unmanaged(self) -> None:
        self.check_data()
        assert self.names() == FILES
        assert {name: self.backing(name) for name in TOPS} == self.recorded
        assert not hidden_names(self.folder)

    def check_managed(self) -> None:
        self.check_data()
        assert self.names() == FILES - {OLD} | {NEW}
        assert {Path(self.backing(name)).name for name in TOPS} == {NEW}
        assert not hidden_names(self.folder)


def create(image: Path, backing: str, kind: str, byte: int) -> None:
    """Make an overlay with data of its own: `byte` is the value of the data, and determines their offset."""
    qemu.create(image, SIZE, backing, kind)
    qemu.qemu_io(image, f"write -P {byte} {byte * 4096} 4096")


def hidden_names(folder: Path) -> set[str]:
    """Return the hidden names in the folder that a rename left behind."""
    return {name for name in os.listdir(folder) if name.startswith(".")} - {LOCK}


@contextmanager
def before_each_step(action: Callable[[str], None]) -> Iterator[None]:
    """Call `action` with the name of each step that changes the disk, right before the step."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (
            (os, "link"),
            (os, "fsync"),
            (os, "fdatasync"),
            (os, "rename"),
            (os, "unlink"),
            (qemu_img, "rebase"),
        ):
            patch.setattr(owner, name, _with_action_before(getattr(owner, name), name, action))
        yield


def _with_action_before(step: Callable[..., Any], name: str, action: Callable[[str], None]) -> Callable[..., Any]:
    def act_and_step(*arguments: Any, **named: Any) -> Any:
        action(name)
        return step(*arguments, **named)

    return act_and_step


def kill_before(operation: Callable[[T], object], binding: T, step: int) -> bool:
    """Run the operation and kill the worker before a step; return False if there is no such step."""
    passed = itertools.count()

    def die(_: str) -> None:
        if next(passed) == step:
            raise WorkerKilled

    with before_each_step(die):
        try:
            operation(binding)
        except WorkerKilled:
            return True
    return False


@contextmanager
def act_once_before(step: str, action: Callable[[], object]) -> Iterator[None]:
    """Call `action` right before the first step of this name."""
    done: list[str] = []

    def act_once(name: str) -> None:
        if name == step and not done:
            done.append(name)
            action()

    with before_each_step(act_once):
        yield
