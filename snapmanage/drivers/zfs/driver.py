"""ZFS: the snapshots of one dataset and of the datasets beneath it, file systems and volumes.

The driver runs the command `zfs`. One `zfs get` reports everything; to find the objects of a batch, it gets their
names. The commands and properties are those that OpenZFS shares with zfs-fuse 0.7, which has no volumes.

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
entry `DATASET/*`. The driver then also reads by name the datasets that this host has mounted or has devices of. A
snapshot that waits to be destroyed (`zfs destroy -d`) is unusable.

**In use.** A snapshot that is mounted outside of `.zfs/snapshot`, in snapmanage's own mount namespace, is in use. ZFS
itself unmounts a snapshot beneath `.zfs/snapshot`, and refuses the rename while a process works there. Holds and
clones survive a rename.

**Renames.** ZFS renames by name only. A command gets SIGTERM at its deadline. One that hangs in the kernel, on a
suspended pool, is left running. The driver never removes an object.

**Late renames.** See `snapmanage.drivers.renaming`: a stopped worker may still do one rename after it continues. ZFS
can't check the identity in the rename itself, and a report costs as much as some renames. So a report serves the
renames of a batch that follow within two seconds; then the driver reads the rest of the batch again. If another
snapshot gets an old name in that time, it is renamed, and the report after the batch restores its name.
"""

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar, TypeVar

from oslo_config import cfg

from snapmanage import errors
from snapmanage.core.backend import BackendObject, BackendSnapshot, BackendVolume, Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers import relocation, renaming
from snapmanage.drivers.batch import Asked, raise_or_return, try_each
from snapmanage.drivers.protocol import Section
from snapmanage.drivers.zfs import unlisted
from snapmanage.drivers.zfs.identities import is_old, renewed
from snapmanage.drivers.zfs.lookup import Lookup, described
from snapmanage.drivers.zfs.names import MAX_NAME_LENGTH, dataset_of, is_dataset_name, is_snapshot_name, is_within
from snapmanage.drivers.zfs.renamer import DatasetRenamer
from snapmanage.drivers.zfs.scan import Scanner

T = TypeVar("T")


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
        return f"zfs:{self._scanner.named().objects[self._dataset].identity}"

    def list_snapshots(self) -> list[BackendSnapshot]:
        found, damage = self._scanner.listing()
        listed = described(found, self._managed_suffix_length)
        return [*listed.values(), *([unlisted.snapshots(self._dataset, damage)] if damage else [])]

    def list_volumes(self) -> list[BackendVolume]:
        found, damage = self._scanner.listing()
        rest = [unlisted.volumes(self._dataset, damage)] if damage else []
        return [*(each.volume() for each in found.values() if not each.is_snapshot), *rest]

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        return raise_or_return(*self.find_snapshots([Asked(reference, volume)]))

    def find_snapshots(self, asked: Sequence[Asked]) -> list[BackendSnapshot | errors.SnapmanageError]:
        references = [each.reference for each in asked]
        return try_each(self._lookup(references).snapshot, references)

    def find_volume(self, reference: Reference) -> BackendVolume:
        return raise_or_return(*self.find_volumes([reference]))

    def find_volumes(self, references: Sequence[Reference]) -> list[BackendVolume | errors.SnapmanageError]:
        return try_each(self._lookup(references).volume, references)

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
        return raise_or_return(*self.manage_snapshots([binding]))

    def manage_snapshots(self, bindings: Sequence[Binding]) -> list[BackendSnapshot | errors.SnapmanageError]:
        return self._with_renewed(bindings, lambda renewed: renaming.manage_many(self._renamer(), renewed))

    def unmanage_snapshot(self, binding: Binding) -> None:
        raise_or_return(*self.unmanage_snapshots([binding]))

    def unmanage_snapshots(self, bindings: Sequence[Binding]) -> list[errors.SnapmanageError | None]:
        return self._with_renewed(bindings, self._unmanage)

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

    def _lookup(self, references: Sequence[Reference]) -> Lookup:
        return Lookup(self._scanner, references, self._managed_suffix_length)

    def _renamer(self) -> DatasetRenamer:
        return DatasetRenamer(self._scanner, self._managed_suffix_length, self._delegated, self._deadline_seconds)

    def _unmanage(self, bindings: Sequence[Binding]) -> list[errors.SnapmanageError | None]:
        unmanage = partial(renaming.unmanage_many, self._renamer())
        ends, _ = relocation.unmanage_everywhere(bindings, unmanage, self._relocated)
        return [end if isinstance(end, errors.SnapmanageError) else None for end in ends]

    def _relocated(self, bindings: Sequence[Binding]) -> dict[Binding, Binding]:
        """Return the snapshots whose dataset was renamed within the configured one, with their present names."""
        located = self.locate({each.identity for each in bindings}, ())
        found = {each: relocation.relocated(each, located, "@") for each in bindings}
        return {each: to for each, to in found.items() if to and is_within(to.managed_name, self._dataset)}

    def _with_renewed(
        self, bindings: Sequence[Binding], call: Callable[[Sequence[Binding]], Sequence[T]]
    ) -> list[T | errors.SnapmanageError]:
        """Return the results of `call` for the bindings with present identities, and the errors of the others."""
        renewed = self._renewed(bindings)
        results = iter(call([each for each in renewed if isinstance(each, Binding)]))
        return [next(results) if isinstance(each, Binding) else each for each in renewed]

    def _renewed(self, bindings: Sequence[Binding]) -> list[Binding | errors.SnapmanageError]:
        """Return the bindings with present identities; an error in the place of one whose names can't be read.

        Both names lie in one dataset, so at most one object matches.
        """
        names = [name for each in bindings if is_old(each.identity) for name in (each.original_name, each.managed_name)]
        if not names:
            return list(bindings)
        found = self._scanner.named(*names)

        def renewed(binding: Binding) -> Binding:
            named = [found.get(name) for name in (binding.original_name, binding.managed_name)]
            present = [each for each in named if each and each.is_snapshot and each.old_identity == binding.identity]
            return replace(binding, identity=present[0].identity) if present else binding

        return try_each(lambda each: renewed(each) if is_old(each.identity) else each, bindings)
