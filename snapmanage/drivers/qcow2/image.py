"""One image of a directory, its backing file, and the changes that the system allows snapmanage to make to it.

The driver follows a backing file name only if it is a plain name in this directory and the overlay records the format
qcow2 or raw. QEMU guesses a format that isn't recorded from data that a guest may have written, and another path may
lead to any file of the host.
"""

import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from snapmanage.drivers.qcow2 import other_formats
from snapmanage.drivers.qcow2.format import Header, NotQcow2, Unreadable, read_header
from snapmanage.drivers.system import files, syscalls, times
from snapmanage.drivers.system.files import is_valid_name
from snapmanage.drivers.system.syscalls import FileStatus

FORMATS = ("qcow2", "raw")
# Before a name is removed, its file is moved to the name with this prefix. Both together must fit into a file name.
HIDDEN_PREFIX = ".snapmanage-aside-"
MAX_NAME_BYTES = files.MAX_NAME_BYTES - len(HIDDEN_PREFIX)

_PROTECTED_HARDLINKS = Path("/proc/sys/fs/protected_hardlinks")


@dataclass(frozen=True)
class Image:
    """One file of the directory, with all its names there. Each reason is a clause, empty if it doesn't apply.

    * `header`: None for a raw file and for one that can't be read as qcow2.
    * `unreadable_reason`: why the system doesn't let snapmanage read the file.
    * `malformed_reason`: why the data are no valid qcow2.
    * `backing_unknown`: the file may have a backing file, but its backing file name can't be read.
    * `other_file_names`: the names of other files in an image of another format.
    * `immovable_reason`: why the file can't be renamed.
    * `read_only_reason`: why snapmanage can't write the file.
    """

    names: tuple[str, ...]
    identity: str
    file_bytes: int
    created_at: datetime | None
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
        """Return the file as a raw image, regardless of its data."""
        return replace(
            self, header=None, malformed_reason="", backing_unknown=bool(self.unreadable_reason), other_file_names=()
        )


@dataclass(frozen=True)
class Overlay:
    """An image with its backing file.

    `backing_file_name` is the text that the image records. `backing_file` is the file of the directory that it names,
    or None; then `error` has the reason, as a clause.
    """

    image: Image
    backing_file_name: str
    backing_file: str | None
    format: str
    error: str

    @property
    def name(self) -> str:
        return self.image.names[0]

    @property
    def rebase_refusal(self) -> str:
        """Return why another backing file name can't be recorded, as a clause; empty if it can."""
        if self.error or self.image.read_only_reason or self.image.header is None:
            return self.error or self.image.read_only_reason
        folder = self.backing_file_name.rpartition("/")[0]
        if len(os.fsencode(folder)) + len("./") + MAX_NAME_BYTES > self.image.header.max_backing_name_bytes:
            return f"its header has no room for a longer name after {folder!r}"
        return self.image.header.unwritable_reason


def overlay(image: Image, directory_paths: Collection[str]) -> Overlay | None:
    """Return the image as an overlay, or None if it has no backing file.

    `directory_paths` are the paths of the directory that a backing file name may begin with.
    """
    if image.header is None or image.header.backing_file_name is None:
        return None
    recorded, kind = image.header.backing_file_name, image.header.backing_format or ""
    folder, slash, name = recorded.rpartition("/")
    backing_file: str | None = name
    error = ""
    if ":" in recorded.partition("/")[0]:
        backing_file, error = None, f"its backing file {recorded!r} is given by a protocol, not by a plain name"
    elif (slash and folder not in (".", *directory_paths)) or not is_valid_name(name):
        backing_file, error = None, f"its backing file {recorded!r} is not a plain name in the directory"
    elif kind not in FORMATS:
        error = f"it records {kind or 'no'} format for its backing file {recorded!r}; only qcow2 and raw are followed"
    return Overlay(image, recorded, backing_file, kind, error)


def read_image(fd: int, name: str, with_internal: bool = True) -> Image:
    """Describe an open file, optionally without its internal snapshots; raise `OSError`."""
    status = syscalls.opened_status(fd)
    image = unopened_image(
        name,
        status,
        locked=syscalls.locked(fd),
        immovable_reason=_immovable_reason(fd, status),
        read_only_reason="" if _has_access(fd, os.W_OK) else "snapmanage has no permission to write it",
    )

    def read(size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    try:
        return replace(image, header=read_header(read, with_internal))
    except Unreadable as failure:
        names = other_formats.file_names(read)
        unknown = not isinstance(failure, NotQcow2) and names is None
        return replace(image, malformed_reason=str(failure), backing_unknown=unknown, other_file_names=names or ())


def unopened_image(name: str, status: FileStatus, **fields: Any) -> Image:
    """Return the file's image with these fields; the file itself isn't read."""
    created_at = times.creation_time(status.created_ns / syscalls.NANOSECONDS_PER_SECOND)
    return Image((name,), status.identity, status.size_bytes, created_at, file=status, **fields)


def _immovable_reason(fd: int, status: FileStatus) -> str:
    if status.immovable:
        return "it is immutable, append-only or a mount point: see lsattr and findmnt"
    # A rename begins with a hard link. The rights are examined first, because each read of the setting costs more.
    if os.geteuid() in (0, os.fstat(fd).st_uid) or _has_access(fd, os.R_OK | os.W_OK) or not _protected_hardlinks():
        return ""
    return "snapmanage's user must own it, or be allowed to read and write it (fs.protected_hardlinks)"


def _protected_hardlinks() -> bool:
    try:
        return _PROTECTED_HARDLINKS.read_text().strip() != "0"
    except OSError:
        return True


def _has_access(fd: int, mode: int) -> bool:
    return os.access(f"/proc/self/fd/{fd}", mode, effective_ids=True)
