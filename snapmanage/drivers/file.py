"""A directory of image files, where a snapshot of `disk1.img` is a sibling `disk1.img@NAME`.

This is the driver that needs nothing installed. Whoever makes the snapshots (`cp --reflink`, a copy)
gives them such names; everything before the first `@` is the volume's name, and a file without an `@`
is a volume. A snapshot whose volume's file is gone is listed all the same: its name still says the
parent, but there is no parent's identity to compare.

Identity is the inode's number together with the file's birth in nanoseconds: a rename keeps both, and
a file that is given a freed number is born later. Where the file system keeps no birth times (some
network file systems), the number stands alone, and a snapshot that is removed and made again under the
same name while it is being managed may be taken for the old one.

Hidden files, symbolic links, special files and names that aren't UTF-8 don't count as images.
"""

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import ClassVar

from oslo_config import cfg

from snapmanage import crash, errors
from snapmanage.core.backend import BackendSnapshot, BackendVolume, Binding, Unsafe
from snapmanage.core.reference import Reference
from snapmanage.crash import Point
from snapmanage.drivers import linux, renaming

LONGEST_NAME = 255

_FLOCK = struct.Struct("hhqqi0q")
_OPEN_TO_ASK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class FileDriver:
    """Snapshots as files in one directory, renamed in place without ever replacing another."""

    options: ClassVar[Sequence[cfg.Opt]] = [
        cfg.StrOpt(
            "directory",
            help="The directory of the image files, required. Nothing outside of it is looked at or touched.",
        ),
    ]

    def __init__(self, directory: str | None = None) -> None:
        self._directory = directory or ""

    def check(self) -> None:
        if not self._directory:
            raise errors.ConfigurationError("the file driver needs the option directory: set it to an absolute path")
        with self._opened():
            if not os.access(self._directory, os.R_OK | os.W_OK | os.X_OK):
                raise errors.BackendPermission(f"let snapmanage read, enter and write {self._directory!r}")

    def list_snapshots(self) -> list[BackendSnapshot]:
        with self._opened() as fd:
            with _explained(self._directory), os.scandir(fd) as entries:
                names = [entry.name for entry in entries if _legal(entry.name) and entry.is_file(follow_symlinks=False)]
            volumes = {name: _status(fd, name) for name in names if "@" not in name}
            snapshots = ((name, _status(fd, name)) for name in names if _parent(name))
            return [_describe(fd, name, found, volumes.get(_parent(name))) for name, found in snapshots if found]

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        name = _checked(reference)
        with self._opened() as fd:
            found = self._regular(fd, name, errors.NotASnapshot)
            if not _parent(name):
                raise errors.NotASnapshot(f"{name!r} isn't called VOLUME@NAME, so it is no snapshot")
            return _seen_alone(fd, name, found)

    def find_volume(self, reference: Reference) -> BackendVolume:
        name = _checked(reference)
        with self._opened() as fd:
            found = self._regular(fd, name, errors.NotAVolume)
            if "@" in name:
                raise errors.NotAVolume(f"{name!r} has an @ in its name, so it is no volume")
            return BackendVolume(name, _identity(found), found.size_bytes)

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        wanted = f"{_parent(found.name)}@{name}"
        if not _legal(wanted) or len(wanted.encode()) > LONGEST_NAME:
            raise errors.ConfigurationError(
                f"{found.name!r} can't be renamed to {wanted!r}, which is no file name of at most "
                f"{LONGEST_NAME} bytes: change snapshot_name_template"
            )
        return wanted

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        with self._opened() as fd:
            managed = renaming.manage(_OpenDirectory(fd), binding)
            self._keep(fd)
            return managed

    def unmanage_snapshot(self, binding: Binding) -> None:
        with self._opened() as fd:
            renaming.unmanage(_OpenDirectory(fd), binding)
            self._keep(fd)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as failure:
            raise errors.BackendUnavailable(
                f"can't open the directory {self._directory!r}: {failure.strerror}"
            ) from failure
        try:
            yield fd
        finally:
            os.close(fd)

    def _keep(self, fd: int) -> None:
        """Make the names outlive a power failure, also where an earlier worker died after its rename."""
        crash.at(Point.RENAME_UNSYNCED)
        with _explained(self._directory):
            os.fsync(fd)

    def _regular(self, fd: int, name: str, refusal: type[errors.Invalid]) -> linux.FileStatus:
        found = _status(fd, name)
        if found is None:
            raise errors.SourceNotFound(f"there is no file {name!r} in {self._directory!r}")
        if not stat.S_ISREG(found.mode):
            raise refusal(f"{name!r} is no regular file; symbolic links and special files are never followed")
        return found


class _OpenDirectory:
    """The names in one open directory, as `renaming` wants them."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def look(self, *names: str) -> dict[str, BackendSnapshot]:
        seen = {name: _status(self._fd, name) for name in names}
        return {name: _seen_alone(self._fd, name, found) for name, found in seen.items() if found}

    def rename(self, old: str, new: str) -> None:
        with _explained(new):
            linux.rename_noreplace(self._fd, old, new)


def _legal(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return not name.startswith(".") and "/" not in name and "\0" not in name


def _checked(reference: Reference) -> str:
    name = reference.name()
    if not _legal(name):
        raise errors.InvalidReference(
            f"{name!r} is no image in the directory: the name must have no '/' and no NUL and mustn't begin with a dot"
        )
    return name


def _parent(name: str) -> str:
    """The volume that a snapshot's name tells of; empty where the name isn't VOLUME@NAME."""
    volume, _, snapshot = name.partition("@")
    return volume if snapshot else ""


def _status(fd: int, name: str) -> linux.FileStatus | None:
    try:
        with _explained(name):
            return linux.status(fd, name)
    except errors.SourceNotFound:
        return None


def _seen_alone(fd: int, name: str, found: linux.FileStatus) -> BackendSnapshot:
    return _describe(fd, name, found, _status(fd, _parent(name)))


def _describe(fd: int, name: str, found: linux.FileStatus, parent: linux.FileStatus | None) -> BackendSnapshot:
    unsafe, reason = _danger(fd, name) if stat.S_ISREG(found.mode) else (None, "")
    return BackendSnapshot(
        name=name,
        identity=_identity(found),
        size_bytes=found.size_bytes,
        parent=_parent(name) or None,
        parent_identity=_identity(parent) if parent else None,
        created_at=datetime.fromtimestamp(linux.birth_time(found), UTC),
        unsafe=unsafe,
        unsafe_reason=reason,
    )


def _identity(found: linux.FileStatus) -> str:
    return f"{found.inode}-{found.born_ns or 0}"


def _danger(fd: int, name: str) -> tuple[Unsafe | None, str]:
    try:
        asking = os.open(name, _OPEN_TO_ASK, dir_fd=fd)
    except PermissionError:
        return Unsafe.UNUSABLE, "snapmanage may not read the file"
    except OSError:
        # It has just gone, or become another kind of file: then its identity won't match either.
        return None, ""
    try:
        with _explained(name):
            return (Unsafe.IN_USE, "a process holds a lock on the file") if _locked(asking) else (None, "")
    finally:
        os.close(asking)


def _locked(fd: int) -> bool:
    """Whether somebody holds any lock, shared ones too: a running qemu has shared locks on some bytes."""
    question = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, *_ = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, question))
    return bool(kind != fcntl.F_UNLCK)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what the system says of `name` into an error of snapmanage."""
    try:
        yield
    except FileNotFoundError as failure:
        raise errors.SourceNotFound(f"there is no file {name!r}") from failure
    except FileExistsError as failure:
        raise errors.NameTaken(f"there is a file {name!r} already") from failure
    except PermissionError as failure:
        raise errors.BackendPermission(f"snapmanage may not do this to {name!r}; give it the right to") from failure
    except OSError as failure:
        if failure.errno == errno.ENAMETOOLONG:
            raise errors.InvalidReference(f"{name!r} is longer than a file's name may be") from failure
        raise errors.BackendUnavailable(f"the file system failed on {name!r}: {failure.strerror}") from failure
