"""Odd images of every kind that people and programs leave in a directory over the years.

Each oddity has a backing file of its own with a plain overlay, so one oddity can't hide another. Two kinds are left
out: oddities that block every rename in the directory, such as an unreadable image, and those that a test can't remove.
"""

import os
from pathlib import Path

from tests.services.storage import qemu

# Spellings that the driver follows and rewrites.
PLAIN = ("BASE", "./BASE", "DIR/BASE")
# Backing file names of the second overlay. DIR is the directory, BASE the name of the backing file.
SPELLINGS = (
    "../images/BASE",
    ".//BASE",
    "DIR//BASE",
    "DIR/./BASE",
    "DIR/../images/BASE",
    "../linked/BASE",
    "here/BASE",
    "file:DIR/BASE",
    "file:BASE",
    "BASE/.",
    "/mnt/nowhere/BASE",
    "nfs://server/export/BASE",
    "blkdebug::DIR/BASE",
    'json:{"driver":"qcow2","file":{"driver":"file","filename":"DIR/BASE"}}',
    'json:{"driver":"qcow2","file.filename":"DIR/BASE"}',
    "json:{'driver':'qcow2','file.filename':'DIR/BASE'}",
    'json:{"driver":"quorum","vote-threshold":1,"children.0.file.filename":"DIR/BASE"}',
    # These don't block managing the backing file.
    *PLAIN,
    "../elsewhere/BASE",
    "gone.qcow2",
    "nbd://localhost/BASE",
    'json:{"driver":"null-co"}',
)


class Oddities:
    """Makes the odd images in one directory."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._folder = folder
        self._size_bytes = size_bytes
        self._model = b""

    def make(self) -> None:
        beside = self._folder.parent
        (beside / "elsewhere").mkdir()
        (beside / "linked").symlink_to(self._folder.name)
        (self._folder / "here").symlink_to(".")
        self._spell()
        self._name()
        self._link(beside)
        self._format()
        self._damage()

    def _spell(self) -> None:
        for number, spelling in enumerate(SPELLINGS):
            # With a plain spelling, the second overlay would be a second volume.
            base = self._pair(f"spelled-{number}.qcow2", "" if spelling in PLAIN else "top-of-")
            (self._folder.parent / "elsewhere" / base).write_bytes(self._model)
            self._overlay(f"odd-{number}.qcow2", spelling.replace("BASE", base))

    def _name(self) -> None:
        """Make names that match no pattern, are hidden, aren't UTF-8, are too long, or have an overlong extension."""
        for number, name in enumerate(("vm.snap1", ".hidden.qcow2", "\udcff.qcow2", "y" * 255)):
            self._overlay("renamed.qcow2", self._pair(f"named-{number}.qcow2"))
            (self._folder / "renamed.qcow2").rename(self._folder / name)
        for name in ("l" * 238, "ending." + "e" * 230, "nbd:1", "-x", 'json:{"a":1}'):
            self._pair(name)

    def _link(self, beside: Path) -> None:
        (self._folder / "current").symlink_to(self._pair("current-1.qcow2"))
        (self._folder / "nowhere.qcow2").symlink_to("/mnt/nowhere/else.qcow2")
        self._overlay("far.qcow2", self._pair("near.qcow2"))
        (self._folder / "far.qcow2").rename(beside / "far.qcow2")
        (self._folder / "far-link.qcow2").symlink_to("../far.qcow2")
        (self._folder / "second.qcow2").hardlink_to(self._folder / self._pair("first.qcow2"))
        (self._folder / "folder.qcow2").mkdir()
        os.mkfifo(self._folder / "fifo.qcow2")

    def _format(self) -> None:
        for kind in ("qed", "qcow"):
            base = self._pair(f"below-{kind}.qcow2")
            qemu.qemu_img("create", "-q", "-f", kind, "-b", base, "-F", "qcow2", self._folder / f"old.{kind}")
        for name in ("extent.raw", "data.raw", "plain.raw"):
            (self._folder / name).write_bytes(bytes(self._size_bytes))
            self._overlay(f"top-of-{name}.qcow2", name, "raw")
        flat = self._folder / "flat.vmdk"
        qemu.qemu_img("create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", flat, str(self._size_bytes))
        flat.write_text(flat.read_text().replace("flat-flat.vmdk", "extent.raw"))
        options = f"data_file={self._folder}/data.raw,data_file_raw=on"
        argv = ("-q", "-f", "qcow2", "-o", options, self._folder / "split.qcow2", str(self._size_bytes))
        qemu.qemu_img("create", *argv)

    def _damage(self) -> None:
        self._overlay("loop-1.qcow2", "loop-2.qcow2")
        self._overlay("loop-2.qcow2", "loop-1.qcow2")
        self._overlay("middle.qcow2", self._pair("below-corrupt.qcow2", top=""))
        self._overlay("corrupt.qcow2", "middle.qcow2")
        self._set("corrupt.qcow2", 72, (1 << 1).to_bytes(8))
        self._set(self._overlay("encrypted.qcow2", self._pair("plain.qcow2")), 32, (2).to_bytes(4))
        self._overlay("unclear.qcow2", self._pair("below-unclear.qcow2"), "vmdk")
        (self._folder / "text.qcow2").write_bytes(b"no image")
        (self._folder / "guest.img").write_bytes(b"QFI\xfb" + bytes(100))

    def _pair(self, base: str, top: str = "top-of-") -> str:
        """Make a backing file and, unless `top` is empty, a plain overlay; return the name of the backing file."""
        self._empty(base)
        if top:
            self._overlay(f"{top}{base[:100].removesuffix('.qcow2').replace(':', '-')}.qcow2", f"./{base}")
        return base

    def _overlay(self, name: str, recorded: str, kind: str = "qcow2") -> str:
        """Make an image with exactly this backing file name, even if no file is there."""
        written = recorded.replace("DIR", str(self._folder))
        self._empty(name)
        qemu.qemu_img("rebase", "-u", "-f", "qcow2", "-F", kind, "-b", written, self._folder / name)
        return name

    def _empty(self, name: str) -> None:
        """Copy an image without data; a process for each image would take longer."""
        if not self._model:
            qemu.create(self._folder / "new", self._size_bytes)
            self._model = (self._folder / "new").read_bytes()
            (self._folder / "new").unlink()
        (self._folder / name).write_bytes(self._model)

    def _set(self, name: str, offset: int, data: bytes) -> None:
        with (self._folder / name).open("r+b") as image:
            image.seek(offset)
            image.write(data)
