"""A directory of image files, where a snapshot of `disk1.img` is a sibling `disk1.img@NAME`.

This is the driver that needs nothing installed. Whoever makes the snapshots (`cp --reflink`, a copy)
gives them such names; everything before the first `@` is the volume's name, and a file without an `@`
is a volume. A snapshot whose volume's file is gone, or is no regular file, is listed all the same, without
a parent: any volume can be named for it.

Where the file system keeps no birth times (see `files`), a snapshot that is removed and made again under
the same name while it is being managed may be taken for the old one.

Hidden files, symbolic links, special files and names that aren't UTF-8 don't count as images.

**Late renames.** Files are renamed by name, in the directory that was open, and only to a name that is free: so
what `snapmanage.drivers.renaming` says of them holds here. Names are made to outlive a power failure before a
rename is reported. Nothing is ever removed.
"""

import os
import stat
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import ClassVar

from oslo_config import cfg

from snapmanage import crash, errors
from snapmanage.core.backend import BackendObject, BackendSnapshot, BackendVolume, Binding, Unsafe
from snapmanage.core.reference import Reference
from snapmanage.crash import Point
from snapmanage.drivers import renaming
from snapmanage.drivers.system import files, syscalls
from snapmanage.drivers.system.files import identity, is_valid_name, translated_errors


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
        with files.opened_directory(self._directory):
            if not os.access(self._directory, os.R_OK | os.W_OK | os.X_OK):
                raise errors.BackendPermission(f"let snapmanage read, enter and write {self._directory!r}")

    def storage_id(self) -> str | None:
        return files.storage_id(self._directory)

    def list_snapshots(self) -> list[BackendSnapshot]:
        with files.opened_directory(self._directory) as fd:
            with translated_errors(self._directory), os.scandir(fd) as entries:
                names = [
                    entry.name
                    for entry in entries
                    if is_valid_name(entry.name) and entry.is_file(follow_symlinks=False)
                ]
            volumes = {name: files.status(fd, name) for name in names if "@" not in name}
            snapshots = ((name, files.status(fd, name)) for name in names if _parent(name))
            return [_describe(fd, name, found, volumes.get(_parent(name))) for name, found in snapshots if found]

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        name = _checked(reference)
        with files.opened_directory(self._directory) as fd:
            found = self._regular(fd, name, errors.NotASnapshot)
            if not _parent(name):
                raise errors.NotASnapshot(f"{name!r} isn't called VOLUME@NAME, so it is no snapshot")
            return _describe_alone(fd, name, found)

    def find_volume(self, reference: Reference) -> BackendVolume:
        name = _checked(reference)
        with files.opened_directory(self._directory) as fd:
            found = self._regular(fd, name, errors.NotAVolume)
            if "@" in name:
                raise errors.NotAVolume(f"{name!r} has an @ in its name, so it is no volume")
            return BackendVolume(name, identity(found), found.size_bytes)

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        with files.opened_directory(self._directory) as fd:
            return files.locate(fd, self._directory, identities, names)

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        wanted = f"{_parent(found.name)}@{name}"
        if not is_valid_name(wanted) or len(wanted.encode()) > files.MAX_NAME_BYTES:
            raise errors.ConfigurationError(
                f"{found.name!r} can't be renamed to {wanted!r}, which is no file name of at most "
                f"{files.MAX_NAME_BYTES} bytes: change snapshot_name_template"
            )
        return wanted

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        with files.opened_directory(self._directory) as fd:
            managed = renaming.manage(_OpenDirectory(fd), binding)
            self._keep(fd)
            return managed

    def unmanage_snapshot(self, binding: Binding) -> None:
        with files.opened_directory(self._directory) as fd:
            there = _OpenDirectory(fd)
            if not renaming.unmanage(there, binding):
                located = files.locate(fd, self._directory, {binding.identity}, ())
                if moved := renaming.relocated(binding, located, "@"):
                    renaming.unmanage(there, moved)
            self._keep(fd)

    def _keep(self, fd: int) -> None:
        """Make the names outlive a power failure, also where an earlier worker died after its rename."""
        crash.at(Point.RENAME_UNSYNCED)
        with translated_errors(self._directory):
            os.fsync(fd)

    def _regular(self, fd: int, name: str, refusal: type[errors.Invalid]) -> syscalls.FileStatus:
        found = files.status(fd, name)
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
        seen = {name: files.status(self._fd, name) for name in names}
        return {name: _describe_alone(self._fd, name, found) for name, found in seen.items() if found}

    def rename(self, old: str, new: str) -> None:
        with translated_errors(new):
            syscalls.rename_noreplace(self._fd, old, new)


def _checked(reference: Reference) -> str:
    name = reference.name()
    if not is_valid_name(name):
        raise errors.InvalidReference(
            f"{name!r} is no image in the directory: the name must have no '/' and no NUL and mustn't begin with a dot"
        )
    return name


def _parent(name: str) -> str:
    """The volume that a snapshot's name tells of; empty where the name isn't VOLUME@NAME."""
    volume, _, snapshot = name.partition("@")
    return volume if snapshot else ""


def _describe_alone(fd: int, name: str, found: syscalls.FileStatus) -> BackendSnapshot:
    parent = files.status(fd, _parent(name)) if _parent(name) else None
    return _describe(fd, name, found, parent if parent and stat.S_ISREG(parent.mode) else None)


def _describe(fd: int, name: str, found: syscalls.FileStatus, parent: syscalls.FileStatus | None) -> BackendSnapshot:
    unsafe, reason = _danger(fd, name) if stat.S_ISREG(found.mode) else (None, "")
    return BackendSnapshot(
        name=name,
        identity=identity(found),
        size_bytes=found.size_bytes,
        parent=_parent(name) if parent else None,
        parent_identity=identity(parent) if parent else None,
        created_at=datetime.fromtimestamp(syscalls.birth_time(found), UTC),
        unsafe=unsafe,
        unsafe_reason=reason,
    )


def _danger(fd: int, name: str) -> tuple[Unsafe | None, str]:
    try:
        asking = os.open(name, files.PROBE_FLAGS, dir_fd=fd)
    except PermissionError:
        return Unsafe.UNUSABLE, "snapmanage may not read the file"
    except OSError:
        # It has just gone, or become another kind of file: then its identity won't match either.
        return None, ""
    try:
        with translated_errors(name):
            return (Unsafe.IN_USE, "a process holds a lock on the file") if syscalls.locked(asking) else (None, "")
    finally:
        os.close(asking)
