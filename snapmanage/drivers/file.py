"""Snapshots as files in one directory, next to the files of their volumes. The driver needs no other program.

**Names.** A snapshot of the volume `disk1.img` is the file `disk1.img@NAME`. The text before the first `@` is the
volume's name, and a file without an `@` is a volume. The program that makes the snapshots (`cp --reflink`, a plain
copy) gives them these names. If the volume's file is gone, or is not a regular file, the snapshot is listed without a
parent, and a request to manage it may name any volume.

**Identity.** A file is identified by its inode number and its birth time (`snapmanage.drivers.system.files`). On a file
system without birth times, a new file may be mistaken for a removed one if both have the same name and the removal
happens while the snapshot is being managed.

**Sizes.** The size of a snapshot or volume is the size of its file.

**Refusals.** Hidden files, symbolic links, special files and names that aren't UTF-8 are neither volumes nor snapshots.
A file that snapmanage isn't permitted to read is unusable.

**In use.** A snapshot is in use if a process holds a lock on its file, as a running QEMU does, or if something is
mounted on it.

**Renames.** A managed snapshot is renamed to `VOLUME@` and its managed name. The driver removes no file.

**Late renames.** The driver renames by name, in a directory that stays open, and only to a free name, so the guarantee
of `snapmanage.drivers.renaming` applies. It checks the identity right before each rename. It reports a rename only
after the directory was written to disk, so a power failure can't undo it; one write serves all renames of a batch.
"""

import errno
import os
import stat
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from oslo_config import cfg

from snapmanage import crash, errors
from snapmanage.core.backend import BackendObject, BackendSnapshot, BackendVolume, Binding, Unsafe
from snapmanage.core.reference import Reference
from snapmanage.crash import Point
from snapmanage.drivers import relocation, renaming
from snapmanage.drivers.batch import Asked, raise_or_return, try_each, working_on
from snapmanage.drivers.system import files, permissions, syscalls, times
from snapmanage.drivers.system.files import is_valid_name, translated_errors


class FileDriver:
    """Driver for the image files of one directory; a rename never replaces another file."""

    options: ClassVar[Sequence[cfg.Opt]] = [
        cfg.StrOpt(
            "directory",
            help="Absolute path of the directory with the image files; required. snapmanage reads and changes nothing "
            "outside of it.",
        ),
    ]

    def __init__(self, directory: str | None = None) -> None:
        self._directory = directory or ""

    def check(self) -> None:
        if not self._directory:
            raise errors.ConfigurationError(
                "the file driver has no directory: set the option directory to an absolute path"
            )
        with files.opened_directory(self._directory):
            permissions.require_use(self._directory)

    def storage_id(self) -> str | None:
        return files.storage_id(self._directory)

    def list_snapshots(self) -> list[BackendSnapshot]:
        with files.opened_directory(self._directory) as fd:
            names = self._names(fd)
            volumes = {name: files.status_of_entry(fd, name) for name in names if "@" not in name}
            snapshots = ((name, files.status_of_entry(fd, name)) for name in names if _volume_name(name))
            return [_describe(fd, name, found, volumes.get(_volume_name(name))) for name, found in snapshots if found]

    def list_volumes(self) -> list[BackendVolume]:
        with files.opened_directory(self._directory) as fd:
            volumes = [(name, files.status_of_entry(fd, name)) for name in self._names(fd) if "@" not in name]
        return [_describe_volume(name, found) for name, found in volumes if found]

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        return raise_or_return(*self.find_snapshots([Asked(reference, volume)]))

    def find_snapshots(self, asked: Sequence[Asked]) -> list[BackendSnapshot | errors.SnapmanageError]:
        with files.opened_directory(self._directory) as fd:
            return try_each(partial(self._found_snapshot, fd), asked)

    def find_volume(self, reference: Reference) -> BackendVolume:
        return raise_or_return(*self.find_volumes([reference]))

    def find_volumes(self, references: Sequence[Reference]) -> list[BackendVolume | errors.SnapmanageError]:
        with files.opened_directory(self._directory) as fd:
            return try_each(partial(self._found_volume, fd), references)

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        with files.opened_directory(self._directory) as fd:
            return files.locate(fd, self._directory, identities, names)

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        managed_name = f"{_volume_name(found.name)}@{name}"
        if not is_valid_name(managed_name) or len(managed_name.encode()) > files.MAX_NAME_BYTES:
            raise errors.ConfigurationError(
                f"{found.name!r} can't be renamed to {managed_name!r}, which is not a file name of at most "
                f"{files.MAX_NAME_BYTES} bytes: change snapshot_name_template"
            )
        return managed_name

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        return raise_or_return(*self.manage_snapshots([binding]))

    def manage_snapshots(self, bindings: Sequence[Binding]) -> list[BackendSnapshot | errors.SnapmanageError]:
        with files.opened_directory(self._directory) as fd:
            managed = renaming.manage_many(_DirectoryRenamer(fd), bindings)
            self._sync(fd, managed)
            return managed

    def unmanage_snapshot(self, binding: Binding) -> None:
        raise_or_return(*self.unmanage_snapshots([binding]))

    def unmanage_snapshots(self, bindings: Sequence[Binding]) -> list[errors.SnapmanageError | None]:
        with files.opened_directory(self._directory) as fd:
            unmanage, relocate = partial(renaming.unmanage_many, _DirectoryRenamer(fd)), partial(self._relocated, fd)
            ends, _ = relocation.unmanage_everywhere(bindings, unmanage, relocate)
            self._sync(fd, ends)
            return [end if isinstance(end, errors.SnapmanageError) else None for end in ends]

    def _relocated(self, fd: int, bindings: Sequence[Binding]) -> dict[Binding, Binding]:
        """Return the snapshots that were renamed along with their volume, with their present names."""
        located = files.locate(fd, self._directory, {each.identity for each in bindings}, ())
        found = {each: relocation.relocated(each, located, "@", str.partition) for each in bindings}
        return {each: present for each, present in found.items() if present}

    def _found_snapshot(self, fd: int, asked: Asked) -> BackendSnapshot:
        working_on(asked)
        name, found = self._regular_file(fd, asked.reference, errors.NotASnapshot)
        if not _volume_name(name):
            raise errors.NotASnapshot(f"{name!r} is not a snapshot: its name must have the form VOLUME@NAME")
        return _describe(fd, name, found, files.status(fd, _volume_name(name)))

    def _found_volume(self, fd: int, reference: Reference) -> BackendVolume:
        working_on(reference)
        name, found = self._regular_file(fd, reference, errors.NotAVolume)
        if "@" in name:
            raise errors.NotAVolume(f"{name!r} is not a volume: the name of a volume has no @")
        return _describe_volume(name, found)

    def _names(self, fd: int) -> list[str]:
        """Return the names of the regular files that can be volumes or snapshots."""
        with translated_errors(self._directory), os.scandir(fd) as entries:
            return [each.name for each in entries if is_valid_name(each.name) and each.is_file(follow_symlinks=False)]

    def _sync(self, fd: int, results: Sequence[object]) -> None:
        """Write the directory to disk unless every operation failed, so that each result that is reported is durable.

        This also completes the renames of an earlier worker that died before this step.
        """
        if all(isinstance(each, errors.SnapmanageError) for each in results):
            return
        crash.at(Point.RENAME_UNSYNCED)
        with translated_errors(self._directory):
            os.fsync(fd)

    def _regular_file(
        self, fd: int, reference: Reference, refusal: type[errors.Invalid]
    ) -> tuple[str, syscalls.FileStatus]:
        """Return the name and the status of a reference's file; raise `refusal` if it isn't a regular file."""
        name = reference.name()
        if not is_valid_name(name):
            raise errors.InvalidReference(
                f"{name!r} can't be the name of an image: give a UTF-8 name that has no '/' and no NUL and doesn't "
                "begin with a dot"
            )
        found = files.status(fd, name)
        if found is None:
            raise errors.SourceNotFound(f"there is no file {name!r} in the directory {self._directory!r}")
        if not stat.S_ISREG(found.mode):
            raise refusal(f"{name!r} is not a regular file: symbolic links and special files are never followed")
        return name, found


@dataclass(frozen=True)
class _DirectoryRenamer:
    """The names in one open directory; a `Renamer`."""

    fd: int

    def look(self, *names: str) -> dict[str, BackendSnapshot | errors.SnapmanageError]:
        seen = zip(names, try_each(self._described, names), strict=True)
        return {name: each for name, each in seen if each is not None}

    def is_still(self, name: str, identity: str) -> bool:
        found = files.status(self.fd, name)
        return found is not None and found.identity == identity

    def rename(self, old: str, new: str) -> None:
        with translated_errors(new):
            try:
                syscalls.rename_noreplace(self.fd, old, new)
            except PermissionError as failure:
                raise permissions.refused_rename(files.path_of(self.fd), old, failure) from failure
            except OSError as failure:
                if failure.errno == errno.EBUSY:
                    raise errors.InUse(f"something is mounted on {old!r}; unmount it first") from failure
                raise

    def _described(self, name: str) -> BackendSnapshot | None:
        found = files.status(self.fd, name)
        return _describe(self.fd, name, found, files.status(self.fd, _volume_name(name))) if found else None


def _volume_name(name: str) -> str:
    """Return the VOLUME of a name of the form VOLUME@NAME; empty, the name of no file, for another name."""
    volume, _, snapshot = name.partition("@")
    return volume if snapshot else ""


def _describe_volume(name: str, found: syscalls.FileStatus) -> BackendVolume:
    created_at = times.creation_time(found.created_ns / syscalls.NANOSECONDS_PER_SECOND)
    return BackendVolume(name, found.identity, found.size_bytes, created_at)


def _describe(fd: int, name: str, found: syscalls.FileStatus, volume: syscalls.FileStatus | None) -> BackendSnapshot:
    """Describe a file; `volume` is the status of the file that is named like its volume."""
    parent = volume if volume and stat.S_ISREG(volume.mode) else None
    unsafe, reason = _safety(fd, name) if stat.S_ISREG(found.mode) else (None, "")
    return BackendSnapshot(
        name=name,
        identity=found.identity,
        size_bytes=found.size_bytes,
        parent=_volume_name(name) if parent else None,
        parent_identity=parent.identity if parent else None,
        created_at=times.creation_time(found.created_ns / syscalls.NANOSECONDS_PER_SECOND),
        unsafe=unsafe,
        unsafe_reason=reason,
    )


def _safety(fd: int, name: str) -> tuple[Unsafe | None, str]:
    """Return whether and why a file can't be managed now."""
    try:
        image_fd = files.open_regular(fd, name)
    except PermissionError:
        return Unsafe.UNUSABLE, "snapmanage has no permission to read the file"
    except BlockingIOError:
        return Unsafe.IN_USE, "a process holds a lease on the file"
    except OSError:
        # The file was removed or replaced a moment ago. A rename is then refused, since the identity doesn't match.
        return None, ""
    if image_fd is None:
        return None, ""
    try:
        with translated_errors(name):
            return (Unsafe.IN_USE, "a process holds a lock on the file") if syscalls.locked(image_fd) else (None, "")
    finally:
        os.close(image_fd)
