"""btrfs: the snapshots in one folder and in the folders beneath it, at any depth.

One search of the file system's own trees reads everything, also on a large file system; see `trees`. A request looks up
its own subvolumes only; see `lookup`. Searches and renames need root, so `privileged` has them.

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

**Renames.** btrfs renames by name only. The driver reports a rename once it would survive a power failure: after the
renames of a batch, it writes each folder to the disk once. It never removes an object.

**Late renames.** See `snapmanage.drivers.renaming`: a stopped worker may still do one rename after it continues. Right
before each rename, the driver checks the UUID of the subvolume with the name. Between check and rename, another program
can still give the name to another subvolume. The look after the batch notices it, and that one gets its name back.
"""

import uuid
from collections.abc import Callable, Collection, Sequence
from typing import ClassVar, TypeVar

from oslo_config import cfg

from snapmanage import errors
from snapmanage.core.backend import BackendObject, BackendSnapshot, BackendVolume, Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers import relocation, renaming
from snapmanage.drivers.batch import Asked, raise_or_return, try_one
from snapmanage.drivers.btrfs import objects, paths, privileged, reading
from snapmanage.drivers.btrfs.reading import Read
from snapmanage.drivers.btrfs.renamer import FolderRenamer
from snapmanage.drivers.btrfs.view import ESCAPED, ITSELF, OUTSIDE, Member
from snapmanage.drivers.system import privsep

T = TypeVar("T")


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
        self.list_snapshots()

    def storage_id(self) -> str | None:
        return f"btrfs:{privsep.call(privileged.folder_id, self._folder, self._file_system)}"

    def list_snapshots(self) -> list[BackendSnapshot]:
        found = privsep.call(privileged.snapshots, self._folder, self._file_system)
        return [objects.snapshot(Member(*fields)) for fields in found]

    def list_volumes(self) -> list[BackendVolume]:
        found = privsep.call(privileged.volumes, self._folder, self._file_system)
        return [objects.volume(member, member.fault) for member in (Member(*fields) for fields in found)]

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        [found] = self.find_snapshots([Asked(reference, volume)])
        return raise_or_return(found)

    def find_snapshots(self, asked: Sequence[Asked]) -> list[BackendSnapshot | errors.SnapmanageError]:
        return self._find([each.reference for each in asked], (ESCAPED,), objects.found_snapshot)

    def find_volume(self, reference: Reference) -> BackendVolume:
        [found] = self.find_volumes([reference])
        return raise_or_return(found)

    def find_volumes(self, references: Sequence[Reference]) -> list[BackendVolume | errors.SnapmanageError]:
        return self._find(references, (ESCAPED, OUTSIDE), objects.found_volume)

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        arguments = (self._folder, self._file_system, sorted(identities), sorted(names))
        return [BackendObject(*fields) for fields in privsep.call(privileged.locate, *arguments)]

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        place, slash, _ = found.name.rpartition("/")
        managed = f"{place}{slash}{name}"
        if "/" in name or not paths.is_valid_path(managed):
            raise errors.ConfigurationError(
                f"{found.name!r} can't be renamed to {managed!r}: the last part must be a file name of at most "
                f"{paths.MAX_NAME_BYTES} bytes; change snapshot_name_template"
            )
        return managed

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        [managed] = self.manage_snapshots([binding])
        return raise_or_return(managed)

    def manage_snapshots(self, bindings: Sequence[Binding]) -> list[BackendSnapshot | errors.SnapmanageError]:
        renamer = self.renamer(bindings)
        return renamer.synced(renaming.manage_many(renamer, bindings), [each.managed_name for each in bindings])

    def unmanage_snapshot(self, binding: Binding) -> None:
        [failure] = self.unmanage_snapshots([binding])
        if failure:
            raise failure

    def unmanage_snapshots(self, bindings: Sequence[Binding]) -> list[errors.SnapmanageError | None]:
        ends, present = relocation.unmanage_everywhere(bindings, self._unmanage, self._relocated)
        synced = self.renamer().synced(ends, [each.original_name for each in present])
        # Of a snapshot that is gone, the folder may be gone too.
        failures = [each if isinstance(each, errors.SnapmanageError) else None for each in synced]
        return [None if isinstance(each, errors.SourceNotFound) else each for each in failures]

    def renamer(self, bindings: Sequence[Binding] = ()) -> FolderRenamer:
        """Return the renamer of a batch."""
        return FolderRenamer(self._folder, self._file_system, tuple(bindings))

    def _unmanage(self, bindings: Sequence[Binding]) -> list[bool | errors.SnapmanageError]:
        return renaming.unmanage_many(self.renamer(bindings), bindings)

    def _relocated(self, bindings: Sequence[Binding]) -> dict[Binding, Binding]:
        """Return the snapshots that are in another folder now, such as a renamed one, with their present names."""
        located = self.locate({each.identity for each in bindings}, ())
        found = {each: relocation.relocated(each, located, "/") for each in bindings}
        return {each: to for each, to in found.items() if to and paths.is_valid_path(to.managed_name)}

    def _find(
        self, references: Sequence[Reference], beginnings: tuple[str, ...], described: Callable[[Member], T]
    ) -> list[T | errors.SnapmanageError]:
        """Return the subvolume of each reference as `described` has it, or an error.

        A name is a path from the folder, or begins with one of `beginnings`.
        """
        names = [try_one(Reference.name, each) for each in references]
        possible = [each for each in names if isinstance(each, str) and _is_possible(each, beginnings)]
        found = self._members(possible, OUTSIDE in beginnings) if possible else {}

        def result(name: str) -> T:
            if name not in found:
                raise self._missing(name, beginnings)
            return described(raise_or_return(found[name]))

        return [try_one(result, each) if isinstance(each, str) else each for each in names]

    def _members(self, names: Sequence[str], volumes: bool) -> Read:
        found, undecided = reading.look_up(self._folder, self._file_system, names)
        if volumes:
            # A read-only snapshot is a volume only if it has snapshots, which no lookup can see.
            unclear = {name for name, each in found.items() if each.is_snapshot and each.read_only}
            found = {name: each for name, each in found.items() if name not in unclear}
            undecided |= unclear
        return reading.with_search(self._folder, self._file_system, found, undecided)

    def _missing(self, name: str, beginnings: tuple[str, ...]) -> errors.SnapmanageError:
        elsewhere = OUTSIDE in beginnings and paths.is_valid_path(name.removeprefix(OUTSIDE))
        if elsewhere or name == ITSELF or paths.is_valid_path(name):
            return errors.SourceNotFound(f"there is no subvolume {name!r} in {self._folder!r}")
        return errors.InvalidReference(
            f"{name!r} is not a path from {self._folder!r} to a subvolume: it must neither begin nor end with '/', "
            "nor have '..' or NUL in it"
        )


def _is_possible(name: str, beginnings: tuple[str, ...]) -> bool:
    """Return whether a subvolume can have the name, which is a path or begins with one of `beginnings`."""
    return name == ITSELF or paths.is_valid_path(name) or (name.startswith(beginnings) and paths.is_text(name))


def _is_uuid(text: str) -> bool:
    try:
        return bool(uuid.UUID(text))
    except ValueError:
        return False
