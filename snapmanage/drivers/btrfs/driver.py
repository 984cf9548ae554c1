"""btrfs: the snapshots in one folder and in the folders beneath it, at any depth.

One search of the file system's own trees reads everything, also on a large file system; see `trees`. The search and
the rename need root, so `privileged` has them.

**Snapshots.** A snapshot is a subvolume that btrfs made from another subvolume, even if that one no longer exists.

**Volumes.** A volume is a subvolume that snapshots were made from. A snapshot can be a volume if it is writable, as
after a rollback. It can also be one if it has snapshots of its own, as in a chain of received increments. A volume
may lie elsewhere on the file system; its name then begins with a slash. A list of volumes has the subvolumes in the
folder that are no snapshots or have snapshots of their own, and the volumes elsewhere that snapshots in the folder were
made from. Other writable snapshots can be registered by their names.

**Names.** A name is a path from the folder: `volume-1`, `.snapshots/daily`. The subvolume whose top is the folder is
named `.`. A managed snapshot stays in its own folder, as `.snapshots/snapshot-UUID`. A path that isn't UTF-8 is
listed escaped, after `./`. Such a subvolume can't be managed, but it can be a volume.

**Notes.** The date and the description in snapper's `.snapshots/17/info.xml` are those of `.snapshots/17/snapshot`.

**Identity.** A subvolume is identified by its UUID.

**Sizes.** The size is the amount of data that a subvolume refers to according to quotas, shared data included, as of
the last commit (at most 30 s ago). The size is 0 without quotas, with simple quotas, and during their first count.
`extra` shows a count under way, and a count that btrfs itself calls inconsistent.

**Refusals.** A snapshot that can't be renamed in its folder is unusable. Reasons are: it lies in a read-only
subvolume, on a read-only mount or beneath another mount; the helper that runs as root can't change its folder; its path
is too long or unreadable; it has no UUID.

**In use.** A snapshot is in use if it is mounted itself or in part, or has a mount on it, in snapmanage's own mount
namespace. Open files, a swap file and a send in the snapshot survive a rename, so the driver doesn't look for them.
An unfinished receive does not survive it, but can't be distinguished from a writable snapshot.

**Renames.** btrfs renames by name only. The driver reports a rename once it would survive a power failure. It never
removes an object.

**Late renames.** See `snapmanage.drivers.renaming`: a stopped worker may still do one rename after it continues.
"""

import uuid
from collections.abc import Collection, Sequence
from typing import ClassVar

from oslo_config import cfg

from snapmanage import crash, errors
from snapmanage.core.backend import BackendObject, BackendSnapshot, BackendVolume, Binding, Notes, Unsafe
from snapmanage.core.reference import Reference
from snapmanage.crash import Point
from snapmanage.drivers import renaming
from snapmanage.drivers.btrfs import folder, privileged
from snapmanage.drivers.btrfs.members import ESCAPED, ITSELF, OUTSIDE, Member
from snapmanage.drivers.system import privsep, times


class BtrfsDriver:
    """Snapshots beneath one folder; the module's docstring describes snapshots, sizes and refusals."""

    options: ClassVar[Sequence[cfg.Opt]] = [
        cfg.StrOpt(
            "btrfs_folder",
            help="A folder on a btrfs, often its mount point. Required. Snapshots in it and in the folders beneath can "
            "be managed; nothing outside of it is renamed.",
        ),
        cfg.StrOpt(
            "btrfs_uuid",
            default="",
            help="The UUID of that btrfs, as `btrfs filesystem show` reports it. If it is set, the backend is "
            "unavailable while the folder is on another file system. Set it where the folder lies on a btrfs even "
            "when nothing is mounted there: otherwise the snapshots would seem to be gone then.",
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
        if self._file_system and not _is_uuid(self._file_system):
            raise errors.ConfigurationError(
                f"btrfs_uuid is {self._file_system!r}, which isn't a UUID: set it to the uuid that "
                "`btrfs filesystem show` reports, or leave it out"
            )
        self._members()

    def storage_id(self) -> str | None:
        return f"btrfs:{privsep.call(privileged.folder_id, self._folder, self._file_system)}"

    def list_snapshots(self) -> list[BackendSnapshot]:
        return [_snapshot(member) for member in self._members()]

    def list_volumes(self) -> list[BackendVolume]:
        found = privsep.call(privileged.volumes, self._folder, self._file_system)
        return [_volume(member, member.fault) for member in (Member(*fields) for fields in found)]

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        member = self._find(reference, ESCAPED)
        if not _is_snapshot(member):
            raise errors.NotASnapshot(f"{member.name!r} is a subvolume, but not a snapshot of another subvolume")
        return _snapshot(member)

    def find_volume(self, reference: Reference) -> BackendVolume:
        member = self._find(reference, ESCAPED, OUTSIDE)
        if member.is_snapshot and member.read_only and not member.has_snapshots:
            raise errors.NotAVolume(
                f"{member.name!r} is a read-only snapshot without snapshots of its own; name the subvolume that it was "
                "made from"
            )
        return _volume(member)

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        arguments = (self._folder, self._file_system, sorted(identities), sorted(names))
        return [BackendObject(*fields) for fields in privsep.call(privileged.locate, *arguments)]

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        place, slash, _ = found.name.rpartition("/")
        managed = f"{place}{slash}{name}"
        if "/" in name or not folder.is_valid_path(managed):
            raise errors.ConfigurationError(
                f"{found.name!r} can't be renamed to {managed!r}: the last part must be a file name of at most "
                f"{folder.MAX_NAME_BYTES} bytes; change snapshot_name_template"
            )
        return managed

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        managed = renaming.manage(self, binding)
        self._sync(binding.managed_name)
        return managed

    def unmanage_snapshot(self, binding: Binding) -> None:
        if not renaming.unmanage(self, binding):
            # A folder on the way to it may have been renamed.
            moved = renaming.relocated(binding, self.locate({binding.identity}, ()), "/")
            if moved and folder.is_valid_path(moved.managed_name):
                renaming.unmanage(self, moved)
                binding = moved
        try:
            self._sync(binding.original_name)
        except errors.SourceNotFound:
            # The snapshot is gone, and so is its folder.
            return

    def look(self, *names: str) -> dict[str, BackendSnapshot]:
        return {member.name: _snapshot(member) for member in self._members(*names)}

    def rename(self, old: str, new: str) -> None:
        privsep.call(privileged.rename_subvolume, self._folder, self._file_system, old, new)

    def _sync(self, name: str) -> None:
        """Write the names in the folder of `name` to the disk.

        This also covers an earlier worker that died right after its rename.
        """
        crash.at(Point.RENAME_UNSYNCED)
        privsep.call(privileged.sync_names, self._folder, self._file_system, name)

    def _find(self, reference: Reference, *beginnings: str) -> Member:
        """Return the subvolume with this path from the folder, or with a name that begins with one of `beginnings`."""
        name = reference.name()
        valid = name == ITSELF or folder.is_valid_path(name)
        if valid or (name.startswith(beginnings) and folder.is_text(name)):
            for member in self._members(name):
                return member
        if valid or (OUTSIDE in beginnings and folder.is_valid_path(name.removeprefix(OUTSIDE))):
            raise errors.SourceNotFound(f"there is no subvolume {name!r} in {self._folder!r}")
        raise errors.InvalidReference(
            f"{name!r} is not a path from {self._folder!r} to a subvolume: it must neither begin nor end with '/', "
            "nor have '..' or NUL in it"
        )

    def _members(self, *names: str) -> list[Member]:
        """Return every snapshot in the folder; with `names`, the subvolumes of these names."""
        found = privsep.call(privileged.subvolumes, self._folder, self._file_system, names)
        return [Member(*fields) for fields in found]


def _is_uuid(text: str) -> bool:
    try:
        return bool(uuid.UUID(text))
    except ValueError:
        return False


def _is_snapshot(member: Member) -> bool:
    # The subvolume whose top is the folder has no name in the folder that could be changed.
    return member.is_snapshot and member.name != ITSELF


def _volume(member: Member, unsafe_reason: str = "") -> BackendVolume:
    return BackendVolume(
        name=member.name,
        identity=member.identity,
        size_bytes=member.size_bytes or 0,
        created_at=times.creation_time(member.born),
        unsafe=Unsafe.UNUSABLE if unsafe_reason else None,
        unsafe_reason=unsafe_reason,
        extra=_extra(member),
    )


def _notes(member: Member) -> Notes | None:
    taken_at = times.creation_time(member.taken_at)
    return Notes(taken_at, member.description) if taken_at or member.description else None


def _extra(member: Member) -> dict[str, str]:
    quotas = {"quotas": member.counting} if member.counting else {}
    return {"read_only": "yes" if member.read_only else "no"} | quotas


def _snapshot(member: Member) -> BackendSnapshot:
    unsafe = Unsafe.UNUSABLE if member.fault else Unsafe.IN_USE if member.in_use else None
    return BackendSnapshot(
        name=member.name,
        identity=member.identity,
        size_bytes=member.size_bytes or 0,
        parent=member.parent,
        parent_identity=member.parent_identity,
        created_at=times.creation_time(member.born),
        unsafe=unsafe,
        unsafe_reason=member.fault or member.in_use,
        extra=_extra(member),
        notes=_notes(member),
    )
