"""btrfs: the snapshots in a folder and in the folders beneath it, at any depth.

One search of the file system's own trees reads everything, the size of the file system notwithstanding;
see `trees`. It needs root, and so does renaming, by way of `privileged`.

**Names** are paths from the folder: `volume-1`, `.snapshots/daily`. The subvolume at whose top the folder
is, is called `.`. A managed snapshot is renamed where it lies, `.snapshots/snapshot-UUID`. A path that isn't
UTF-8 is listed escaped, with `./` in front, and can't be managed; it can be a volume.

**What is a snapshot**: a subvolume that btrfs made of another, whether or not that one is still there.
Its volume is what it was made of, which may itself be a snapshot, and may lie elsewhere on the file
system: its name then has a slash in front. A snapshot can be a volume as well where it is writable, as
after rolling back, or has snapshots of its own, as in a chain of received increments.

**Size** is what quotas say that a subvolume refers to, shared data included, as of the last commit (30 s
at most). Without quotas, with simple ones, and while they are being counted, btrfs doesn't know it, and the
size is 0. `extra` tells of counting, and of counts that btrfs itself calls inconsistent.

**Unusable** is what can't be renamed where it lies: in a read-only subvolume, on a read-only mount, beneath
another mount, in a folder that root's helper may not change, on a path that is too long or can't be read.

**In use** is what is mounted by itself, has something in it that is, or has something mounted on it, in
snapmanage's own mount namespace. Open files, a swap file or a send within the snapshot don't mind its new
name and aren't looked for; a receive that isn't finished does, and can't be told from a writable snapshot.

**Late renames.** btrfs renames by name only, so what `snapmanage.drivers.renaming` says of them holds here.
A rename that is done is made to outlive a power failure before it is reported. Nothing is ever removed.
"""

import uuid
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import ClassVar

from oslo_config import cfg

from snapmanage import crash, errors
from snapmanage.core.backend import BackendObject, BackendSnapshot, BackendVolume, Binding, Unsafe
from snapmanage.core.reference import Reference
from snapmanage.crash import Point
from snapmanage.drivers import renaming
from snapmanage.drivers.btrfs import folder, privileged
from snapmanage.drivers.btrfs.members import ITSELF, ODD, OUTSIDE, Member
from snapmanage.drivers.system import privsep


class BtrfsDriver:
    """Snapshots beneath one folder; see the module for what counts as one, its size, and when it is in use."""

    options: ClassVar[Sequence[cfg.Opt]] = [
        cfg.StrOpt(
            "btrfs_folder",
            help="A folder on a btrfs, often its mount point, required. Snapshots in it and in folders beneath can be "
            "managed; nothing outside of it is renamed.",
        ),
        cfg.StrOpt(
            "btrfs_uuid",
            default="",
            help="The UUID of that btrfs, as `btrfs filesystem show` tells it. With it, the backend is away while the "
            "folder is on another file system. Set it where the folder lies on a btrfs even when nothing is mounted "
            "there, since snapshots would seem to be gone then.",
        ),
    ]

    def __init__(self, btrfs_folder: str | None = None, btrfs_uuid: str = "") -> None:
        self._folder = btrfs_folder or ""
        self._file_system = btrfs_uuid.lower()

    def check(self) -> None:
        if not self._folder.startswith("/"):
            raise errors.ConfigurationError(
                f"btrfs_folder is {self._folder!r}: set it to the absolute path of a folder on a btrfs"
            )
        if self._file_system:
            _refuse_no_uuid(self._file_system)
        self._members()

    def storage_id(self) -> str | None:
        return f"btrfs:{privsep.call(privileged.folder_id, self._folder, self._file_system)}"

    def list_snapshots(self) -> list[BackendSnapshot]:
        return [_snapshot(member) for member in self._members() if _is_snapshot(member)]

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        member = self._find(reference, ODD)
        if not _is_snapshot(member):
            raise errors.NotASnapshot(f"{member.name!r} is a subvolume, but no snapshot of another one in the folder")
        return _snapshot(member)

    def find_volume(self, reference: Reference) -> BackendVolume:
        member = self._find(reference, ODD, OUTSIDE)
        if member.is_snapshot and member.read_only and not member.has_snapshots:
            raise errors.NotAVolume(
                f"{member.name!r} is a read-only snapshot that has none of its own; name the subvolume it was taken of"
            )
        return BackendVolume(member.name, member.identity, member.size_bytes or 0)

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        asked = (sorted(identities), sorted(names))
        found = privsep.call(privileged.located_subvolumes, self._folder, self._file_system, *asked)
        return [BackendObject(*fields) for fields in found]

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        place, slash, _ = found.name.rpartition("/")
        wanted = f"{place}{slash}{name}"
        if "/" in name or not folder.legal(wanted):
            raise errors.ConfigurationError(
                f"{found.name!r} can't be renamed to {wanted!r}, whose last part is no file name of at most "
                f"{folder.LONGEST_NAME} bytes: change snapshot_name_template"
            )
        return wanted

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        managed = renaming.manage(self, binding)
        self._keep(binding.managed_name)
        return managed

    def unmanage_snapshot(self, binding: Binding) -> None:
        if not renaming.unmanage(self, binding):
            # A folder on the way to it may have been renamed.
            moved = renaming.relocated(binding, self.locate({binding.identity}, ()), "/")
            if moved and folder.legal(moved.managed_name):
                renaming.unmanage(self, moved)
                binding = moved
        try:
            self._keep(binding.original_name)
        except errors.SourceNotFound:
            # The snapshot is gone, and so is its folder.
            return

    def look(self, *names: str) -> dict[str, BackendSnapshot]:
        return {member.name: _snapshot(member) for member in self._members(*names)}

    def rename(self, old: str, new: str) -> None:
        privsep.call(privileged.rename_subvolume, self._folder, self._file_system, old, new)

    def _keep(self, name: str) -> None:
        """Make the names outlive a power failure, also where an earlier worker died after its rename."""
        crash.at(Point.RENAME_UNSYNCED)
        privsep.call(privileged.keep_names, self._folder, self._file_system, name)

    def _find(self, reference: Reference, *beginnings: str) -> Member:
        """Find what is named by its path from the folder, or by a name that begins in one of those ways."""
        name = reference.name()
        legal = name == ITSELF or folder.legal(name)
        if legal or (name.startswith(beginnings) and folder.is_text(name)):
            for member in self._members(name):
                return member
        if legal or (OUTSIDE in beginnings and folder.legal(name.removeprefix(OUTSIDE))):
            raise errors.SourceNotFound(f"there is no subvolume {name!r} in {self._folder!r}")
        raise errors.InvalidReference(
            f"{name!r} is no path from {self._folder!r} to a subvolume: it must neither begin nor end with '/', "
            "nor have '..' or NUL in it"
        )

    def _members(self, *names: str) -> list[Member]:
        """Every subvolume in the folder; with names, whichever of them exists."""
        found = privsep.call(privileged.subvolumes, self._folder, self._file_system, names)
        return [Member(*fields) for fields in found]


def _is_snapshot(member: Member) -> bool:
    # What is mounted as the folder itself has no name there that could be changed.
    return member.is_snapshot and member.name != ITSELF


def _snapshot(member: Member) -> BackendSnapshot:
    unsafe, reason = _danger(member)
    extra = {"read_only": "yes" if member.read_only else "no"}
    return BackendSnapshot(
        name=member.name,
        identity=member.identity,
        size_bytes=member.size_bytes or 0,
        parent=member.parent,
        parent_identity=member.parent_identity,
        created_at=_moment(member.born),
        unsafe=unsafe,
        unsafe_reason=reason,
        extra=extra | ({"quotas": member.counting} if member.counting else {}),
    )


def _danger(member: Member) -> tuple[Unsafe | None, str]:
    if member.fault:
        return Unsafe.UNUSABLE, member.fault
    return (Unsafe.IN_USE, member.in_use) if member.in_use else (None, "")


def _moment(seconds: float) -> datetime | None:
    """Return a time that a kernel wrote down, unless its clock was out of all bounds."""
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (ValueError, OverflowError, OSError):
        return None


def _refuse_no_uuid(text: str) -> None:
    try:
        uuid.UUID(text)
    except ValueError as failure:
        raise errors.ConfigurationError(
            f"btrfs_uuid is {text!r}: set it to what `btrfs filesystem show` tells as uuid, or leave it out"
        ) from failure
