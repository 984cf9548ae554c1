"""An image file of a directory, and what it records of its backing file.

A backing file counts only where its overlay records a plain name in this directory, and its format,
qcow2 or raw: a format that isn't recorded is guessed by QEMU from data that a guest may have written,
and another path may lead to any file of the host.
"""

import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from snapmanage.drivers.qcow2 import other_formats
from snapmanage.drivers.qcow2.format import Header, NotQcow2, Unreadable, read_header
from snapmanage.drivers.system import files, syscalls
from snapmanage.drivers.system.files import is_valid_name
from snapmanage.drivers.system.syscalls import FileStatus

FORMATS = ("qcow2", "raw")
# A name is put aside with this in front of it, and has room for it.
HIDDEN_PREFIX = ".snapmanage-aside-"
MAX_NAME_BYTES = files.MAX_NAME_BYTES - len(HIDDEN_PREFIX)

_PROTECTED = Path("/proc/sys/fs/protected_hardlinks")


@dataclass(frozen=True)
class Image:
    """One file of the directory, with each of its names there.

    `header` is None where the file is raw, and where it can't be read: then `unreadable_reason` (the system refuses)
    or `malformed_reason` (it is no sound qcow2) says why, as a clause. With `backing_unknown` it may have a backing
    file all the same. `other_file_names` are those in an image of another format. `immovable_reason` says why the
    file can't get another name, `read_only_reason` why snapmanage can't write it.
    """

    names: tuple[str, ...]
    identity: str
    file_bytes: int
    created_at: datetime
    locked: bool = False
    header: Header | None = None
    unreadable_reason: str = ""
    malformed_reason: str = ""
    backing_unknown: bool = False
    file: FileStatus | None = None
    other_file_names: tuple[str, ...] = ()
    immovable_reason: str = ""
    read_only_reason: str = ""

    @property
    def error(self) -> str:
        return self.unreadable_reason or self.malformed_reason

    @property
    def size_bytes(self) -> int:
        return self.header.size_bytes if self.header else self.file_bytes

    def as_raw(self) -> "Image":
        """The file as a raw image, whatever its data look like."""
        return replace(
            self, header=None, malformed_reason="", backing_unknown=bool(self.unreadable_reason), other_file_names=()
        )


@dataclass(frozen=True)
class Overlay:
    """An image with what it records of its backing file.

    `backing` is the name of a file in the directory, or None where `wrong` says why none can be meant.
    """

    image: Image
    recorded: str
    backing: str | None
    format: str
    error: str

    @property
    def name(self) -> str:
        return self.image.names[0]

    @property
    def rebase_refusal(self) -> str:
        """Why it can't be told another name of its backing file, as a clause."""
        if self.error or self.image.read_only_reason or self.image.header is None:
            return self.error or self.image.read_only_reason
        folder = self.recorded.rpartition("/")[0]
        if len(os.fsencode(folder)) + len("./") + MAX_NAME_BYTES > self.image.header.backing_name_max_bytes:
            return f"its header has no room for a longer name behind {folder!r}"
        return self.image.header.unwritable_reason


def overlay(image: Image, directory_paths: Collection[str]) -> Overlay | None:
    """The image as an overlay, if it is one; `directory_paths` are the paths that lead to the directory."""
    if image.header is None or image.header.backing is None:
        return None
    recorded, kind = image.header.backing, image.header.backing_format or ""
    folder, slash, backing = recorded.rpartition("/")
    if ":" in recorded.partition("/")[0]:
        return Overlay(
            image, recorded, None, kind, f"its backing file {recorded!r} is told by a protocol, not by a plain name"
        )
    if (slash and folder not in (".", *directory_paths)) or not is_valid_name(backing):
        return Overlay(
            image, recorded, None, kind, f"its backing file {recorded!r} isn't a plain name in the directory"
        )
    wrong = ""
    if kind not in FORMATS:
        wrong = f"it records {kind or 'no'} format of its backing file {recorded!r}; only qcow2 and raw are followed"
    return Overlay(image, recorded, backing, kind, wrong)


def read_image(fd: int, name: str) -> Image:
    """Describe an open file; `OSError`."""
    found = syscalls.opened_status(fd)
    rights = {"immovable_reason": _why_fixed(fd, found), "read_only_reason": _why_sealed(fd)}
    image = unopened_image(name, found, locked=syscalls.locked(fd), **rights)

    def source(size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    try:
        return replace(image, header=read_header(source))
    except Unreadable as unreadable:
        others = other_formats.names(source)
        backing_unknown = not isinstance(unreadable, NotQcow2) and others is None
        return replace(
            image, malformed_reason=str(unreadable), backing_unknown=backing_unknown, other_file_names=others or ()
        )


def unopened_image(name: str, found: syscalls.FileStatus, **more: Any) -> Image:
    created_at = datetime.fromtimestamp(syscalls.birth_time(found), UTC)
    return Image((name,), files.identity(found), found.size_bytes, created_at, file=found, **more)


def _why_fixed(fd: int, found: FileStatus) -> str:
    """Why the file can be given no other name, as a clause; empty where it can."""
    if found.immovable:
        return "it is immutable, append-only or mounted on: see lsattr and findmnt"
    try:
        protected = _PROTECTED.read_text().strip() != "0"
    except OSError:
        protected = True
    if not protected or os.geteuid() in (0, os.fstat(fd).st_uid) or _may(fd, os.R_OK | os.W_OK):
        return ""
    return "it must be snapmanage's own, or readable and writable (fs.protected_hardlinks)"


def _why_sealed(fd: int) -> str:
    """Why the file can't be written, as a clause; empty where it can."""
    return "" if _may(fd, os.W_OK) else "snapmanage may not write it"


def _may(fd: int, mode: int) -> bool:
    return os.access(f"/proc/self/fd/{fd}", mode, effective_ids=True)
