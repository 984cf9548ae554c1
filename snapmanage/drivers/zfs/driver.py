"""ZFS: the snapshots of one dataset and of the datasets beneath it, file systems and volumes.

The driver runs the command `zfs`. One `zfs get` reports everything; to find single objects, it gets their names. The
commands and properties are those that OpenZFS shares with zfs-fuse 0.7, which has no volumes.

**Names.** A name is a whole name of ZFS: `tank/volumes/volume-1@daily`. A managed snapshot stays in its dataset, as
`tank/volumes/volume-1@snapshot-UUID`.

**Identity.** A snapshot is identified by its guid, the transaction that made it, and its number in the pool
(`objsetid`). The guid alone is not enough: a received snapshot has the guid of the sent one. The transaction is not
enough either: two receives of one stream can end in one transaction. All three survive a rename of the snapshot or
its dataset, export and import, and `zfs promote`, after which the snapshot has another parent. Records of earlier
releases lack the number and are still valid, see `renewed_identities`. The identity of a dataset is its guid with its
transaction.

**Sizes.** The size of a volume is `volsize`, the room for its data. The size of a file system is `referenced`.

**Refusals.** An object with unreadable properties is listed as unusable. Where damage keeps ZFS from listing
everything, the listing has the remaining snapshots and an entry `DATASET@*` with the reason; a list of volumes has an
entry `DATASET/*`. The driver then also
reads by name the datasets that this host has mounted or has devices of. A snapshot that waits to be destroyed
(`zfs destroy -d`) is unusable.

**In use.** A snapshot that is mounted outside of `.zfs/snapshot`, in snapmanage's own mount namespace, is in use. ZFS
itself unmounts a snapshot beneath `.zfs/snapshot`, and refuses the rename while a process works there. Holds and
clones survive a rename.

**Renames.** ZFS renames by name only. A command gets SIGTERM at its deadline. One that hangs in the kernel, on a
suspended pool, is left running. The driver never removes an object.

**Late renames.** See `snapmanage.drivers.renaming`: a stopped worker may still do one rename after it continues.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from oslo_config import cfg

from snapmanage import errors
from snapmanage.core.backend import BackendObject, BackendSnapshot, BackendVolume, Binding, Unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers import renaming
from snapmanage.drivers.protocol import Section
from snapmanage.drivers.system import mounts, privsep
from snapmanage.drivers.system.commands import CompletedCommand
from snapmanage.drivers.system.failures import on_one_line
from snapmanage.drivers.zfs import commands, failures, privileged, report
from snapmanage.drivers.zfs.identities import is_old, renewed
from snapmanage.drivers.zfs.mounts import mounted_snapshots
from snapmanage.drivers.zfs.names import MAX_NAME_LENGTH, dataset_of, is_dataset_name, is_snapshot_name, is_within
from snapmanage.drivers.zfs.report import Dataset
from snapmanage.drivers.zfs.scan import Scanner


class ZfsDriver:
    """Snapshots within one dataset; the module's docstring describes identity, size and refusals."""

    takes_section = True
    options: ClassVar[Sequence[cfg.Opt]] = [
        cfg.StrOpt(
            "zfs_dataset",
            help="The dataset whose snapshots can be managed, with those of all datasets beneath it. Required. "
            "The name of a pool means the whole pool.",
        ),
        cfg.BoolOpt(
            "zfs_delegated",
            default=False,
            help="Run zfs as snapmanage's own user instead of root. First allow it: "
            "zfs allow USER rename,mount,create DATASET.",
        ),
        cfg.FloatOpt(
            "command_timeout_seconds",
            default=60,
            min=1,
            help="Longest duration of one command. Raise it where listing takes longer, with very many snapshots. "
            "Lower it to detect a hanging pool sooner.",
        ),
    ]

    def __init__(
        self,
        zfs_dataset: str | None = None,
        zfs_delegated: bool = False,
        command_timeout_seconds: float = 60,
        section: Section = Section("zfs", snapshot_name_template="snapshot-%s"),  # noqa: B008 - frozen
    ) -> None:
        template = section.snapshot_name_template
        self._dataset = zfs_dataset or ""
        # 0 where snapshots keep their names.
        self._managed_suffix_length = len(template % uuid.UUID(int=0)) if template else 0
        self._delegated = zfs_delegated
        self._deadline_seconds = command_timeout_seconds
        self._scanner = Scanner(self._dataset, zfs_delegated, command_timeout_seconds)

    def check(self) -> None:
        if not is_dataset_name(self._dataset):
            raise errors.ConfigurationError(f"zfs_dataset is {self._dataset!r}: set it to the name of a dataset")
        self._scanner.named()

    def storage_id(self) -> str | None:
        return f"zfs:{self._scanner.named()[self._dataset].identity}"

    def list_snapshots(self) -> list[BackendSnapshot]:
        found, damage = self._scanner.listing()
        return [*self._snapshots(found), *([self._unlisted(damage)] if damage else [])]

    def list_volumes(self) -> list[BackendVolume]:
        found, damage = self._scanner.listing()
        unlisted = [self._unlisted_volumes(damage)] if damage else []
        return [*(each.volume() for each in found.values() if not each.is_snapshot), *unlisted]

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        name = reference.name()
        if name == self._unlisted_name:
            _, damage = self._scanner.listing()
            if damage:
                return self._unlisted(damage)
        for snapshot in self._snapshots(self._find(name)):
            return snapshot
        raise errors.NotASnapshot(f"{name!r} is a dataset; name one of its snapshots, DATASET@NAME")

    def find_volume(self, reference: Reference) -> BackendVolume:
        if reference.name() == self._unlisted_volumes_name:
            _, damage = self._scanner.listing()
            if damage:
                return self._unlisted_volumes(damage)
        dataset = self._find(reference.name())[reference.name()]
        if dataset.is_snapshot:
            raise errors.NotAVolume(f"{dataset.name!r} is a snapshot; name the dataset before its @")
        if dataset.fault:
            raise errors.BackendError(f"{dataset.name!r} can't be read: {dataset.fault}")
        return dataset.volume()

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        # The search covers the whole pool, since a dataset can be renamed to a place outside of the configured one.
        # Records of earlier releases may have the old form of an identity.
        found = self._scanner.whole_pool().values()
        forms = [(each, form) for each in found for form in (each.identity, each.old_identity)]
        return [
            BackendObject(each.name, "" if each.fault else form)
            for each, form in forms
            if form in identities or each.name in names
        ]

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        managed = f"{dataset_of(found.name)}@{name}"
        if not is_snapshot_name(managed):
            raise errors.ConfigurationError(
                f"{managed!r} can't be a name: a snapshot of ZFS is named with letters, digits and '-_.: ', and its "
                f"whole name has at most {MAX_NAME_LENGTH} characters; change snapshot_name_template"
            )
        return managed

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        return renaming.manage(self, self._renewed(binding))

    def unmanage_snapshot(self, binding: Binding) -> None:
        binding = self._renewed(binding)
        if renaming.unmanage(self, binding):
            return
        # Its dataset may have been renamed.
        moved = renaming.relocated(binding, self.locate({binding.identity}, ()), "@")
        if moved and is_within(moved.managed_name, self._dataset):
            renaming.unmanage(self, moved)

    def renewed_identities(self, bindings: Sequence[Binding]) -> Mapping[str, str]:
        """Return the present identity, by the old one, of bindings whose identity has the form of an earlier release.

        Bindings whose object isn't found for certain are left out, see `identities.renewed`. Raise `BackendError`.
        """
        old = [binding for binding in bindings if is_old(binding.identity)]
        if not old:
            return {}
        # Damage may hide an object. Its record is then left as it is, and the backend is served.
        found, _ = self._scanner.listing()
        return renewed(old, [each for each in found.values() if each.is_snapshot])

    def _renewed(self, binding: Binding) -> Binding:
        """Return the binding with the present identity.

        Both names lie in one dataset, so at most one object matches.
        """
        if not is_old(binding.identity):
            return binding
        named = self._scanner.named(binding.original_name, binding.managed_name).values()
        present = [each.identity for each in named if each.is_snapshot and each.old_identity == binding.identity]
        return replace(binding, identity=present[0]) if present else binding

    def look(self, *names: str) -> dict[str, BackendSnapshot]:
        found = self._scanner.named(*names)
        for name in names:
            if name in found and found[name].fault:
                raise errors.BackendError(f"{name!r} can't be read: {found[name].fault}")
        return {snapshot.name: snapshot for snapshot in self._snapshots(found)}

    def rename(self, old: str, new: str) -> None:
        if self._delegated:
            completed = commands.rename(old, new, self._deadline_seconds)
        else:
            completed = CompletedCommand(*privsep.call(privileged.zfs_rename, old, new, self._deadline_seconds))
        if completed.exit_code != 0:
            raise failures.failure(f"renaming {old!r} to {new!r}", completed.exit_code, completed.error)

    def _find(self, name: str) -> dict[str, Dataset]:
        """Return the object of this name and its dataset, each by its name."""
        if not is_dataset_name(name) and not is_snapshot_name(name):
            raise errors.InvalidReference(f"ZFS can't have an object named {name!r}")
        if not is_within(name, self._dataset):
            raise errors.SourceNotFound(f"{name!r} isn't within the dataset {self._dataset!r}")
        found = self._scanner.named(name)
        if name not in found:
            raise errors.SourceNotFound(f"ZFS has no {name!r}")
        return {each: found[each] for each in (dataset_of(name), name) if each in found}

    def _snapshots(self, found: Mapping[str, Dataset]) -> list[BackendSnapshot]:
        mounted = mounted_snapshots(mounts.mounts())
        return [
            each.snapshot(found.get(dataset_of(each.name)), mounted.get(each.name, ""), self._managed_suffix_length)
            for each in found.values()
            if each.is_snapshot
        ]

    @property
    def _unlisted_name(self) -> str:
        return f"{self._dataset}@*"

    def _unlisted(self, damage: str) -> BackendSnapshot:
        """Return the entry for the snapshots that ZFS couldn't list; no real snapshot has such a name."""
        name = self._unlisted_name
        identity = report.unreadable_identity(name)
        return BackendSnapshot(name, identity, 0, None, unsafe=Unsafe.UNUSABLE, unsafe_reason=_unlisted_reason(damage))

    @property
    def _unlisted_volumes_name(self) -> str:
        return f"{self._dataset}/*"

    def _unlisted_volumes(self, damage: str) -> BackendVolume:
        """Return the entry for the datasets that ZFS couldn't list; no real dataset has such a name."""
        name = self._unlisted_volumes_name
        identity = report.unreadable_identity(name)
        return BackendVolume(name, identity, 0, unsafe=Unsafe.UNUSABLE, unsafe_reason=_unlisted_reason(damage))


def _unlisted_reason(damage: str) -> str:
    return f"zfs can't list everything in the dataset, see zpool status -v (zfs reports: {on_one_line(damage)})"
