"""ZFS: the snapshots of one dataset and of those beneath it, file systems and volumes, through the command `zfs`.

One `zfs get` reports everything; when some are asked for by name, they alone. Commands and properties are
those that OpenZFS has in common with zfs-fuse 0.7, which has no volumes.

**Names** are ZFS's own, whole: `tank/volumes/volume-1@daily`. A managed snapshot stays in its dataset,
`tank/volumes/volume-1@snapshot-UUID`.

**Identity** of a snapshot is its guid, the transaction that made it and its number in the pool (`objsetid`).
A received snapshot has the guid of the one that was sent, and two receives of one stream can end in one
transaction; the number differs. It stays through a rename of the snapshot or its dataset, export and
import, and `zfs promote`, after which the snapshot has another parent. Records of earlier releases lack
the number; they go on working, see `renewed_identities`. A dataset's guid is its own, so that its
identity is the guid with the transaction.

**What can't be read.** An object whose properties can't be read is listed as unusable. Where ZFS can't list
everything, as on damage of a dataset, the rest is listed together with an entry `DATASET@*` that says so;
what this host has mounted, or has devices of, is then asked for by name.

**Size** is what a volume's data have room for (`volsize`), and what a file system refers to (`referenced`).

**In use.** Holds and clones stay through a rename, and what is mounted beneath `.zfs/snapshot` ZFS unmounts
by itself; it refuses when somebody is in there. A snapshot that is mounted elsewhere, in snapmanage's own
mount namespace, is in use. One that waits to be destroyed (`zfs destroy -d`) can't be used.

**Late renames.** ZFS renames by name only, so what `snapmanage.drivers.renaming` says of them holds here. A
command is asked to end at its deadline; one that hangs in the kernel, on a suspended pool, is left behind.
Nothing is ever removed.
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
from snapmanage.drivers.system.commands import Ended
from snapmanage.drivers.zfs import commands, failures, privileged, report
from snapmanage.drivers.zfs import identities as zfs_identities
from snapmanage.drivers.zfs import mounts as zfs_mounts
from snapmanage.drivers.zfs import names as zfs_names
from snapmanage.drivers.zfs.report import Dataset

# So many names fit into one command.
_NAMES_AT_ONCE = 1000


class ZfsDriver:
    """Snapshots within one dataset; see the module for their identity, their size, and when one is in use."""

    takes_section = True
    options: ClassVar[Sequence[cfg.Opt]] = [
        cfg.StrOpt(
            "zfs_dataset",
            help="The dataset whose snapshots, and those of all datasets beneath it, can be managed, required. "
            "The name of a pool means the whole pool.",
        ),
        cfg.BoolOpt(
            "zfs_delegated",
            default=False,
            help="Run zfs as snapmanage's own user in place of root. Allow that first: "
            "zfs allow USER rename,mount,create DATASET.",
        ),
        cfg.FloatOpt(
            "command_timeout_seconds",
            default=60,
            min=1,
            help="How long one command may take. Raise it where listing takes longer, with very many snapshots. "
            "Lower it to learn of a hanging pool sooner.",
        ),
    ]

    def __init__(
        self,
        zfs_dataset: str | None = None,
        zfs_delegated: bool = False,
        command_timeout_seconds: float = 60,
        section: Section = Section("zfs", snapshot_name_template="snapshot-%s"),  # noqa: B008 - frozen
    ) -> None:
        self._dataset = zfs_dataset or ""
        self._longest_own_name = _length_of(section.snapshot_name_template)
        self._delegated = zfs_delegated
        self._deadline = command_timeout_seconds

    def check(self) -> None:
        if not zfs_names.is_dataset(self._dataset):
            raise errors.ConfigurationError(f"zfs_dataset is {self._dataset!r}: set it to the name of a dataset")
        self._named()

    def storage_id(self) -> str | None:
        return f"zfs:{self._named()[self._dataset].identity}"

    def list_snapshots(self) -> list[BackendSnapshot]:
        code, output, error = self._get([self._dataset], recursive=True)
        found = report.read(output)
        # Damage of one object cuts the report short, with exit code 0.
        damaged = failures.damaged(error)
        if self._dataset not in found or (code != 0 and not damaged) or failures.may_pass(code, error):
            raise self._away(code, error)
        if not damaged:
            return self._snapshots(found)
        return [*self._snapshots(found | self._overlooked(found)), self._rest(error)]

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        if reference.name() == self._rest_name:
            return self._find_rest()
        found = self._find(reference)
        for snapshot in self._snapshots(found):
            return snapshot
        raise errors.NotASnapshot(f"{reference.name()!r} is a dataset; name one of its snapshots, DATASET@NAME")

    def find_volume(self, reference: Reference) -> BackendVolume:
        dataset = self._find(reference)[reference.name()]
        if dataset.is_snapshot:
            raise errors.NotAVolume(f"{dataset.name!r} is a snapshot; name the dataset before its @")
        if dataset.fault:
            raise errors.BackendError(f"can't tell what {dataset.name!r} is: {dataset.fault}")
        return BackendVolume(dataset.name, dataset.identity, dataset.size_bytes)

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        # The whole pool: a dataset can be renamed to outside of ours.
        code, output, error = self._get([zfs_names.pool_of(self._dataset)], recursive=True)
        found = report.read(output)
        if code != 0 or self._dataset not in found or failures.damaged(error):
            raise self._away(code, error)
        # Records of earlier releases may have the old form.
        forms = [(each, form) for each in found.values() for form in (each.identity, each.old_identity)]
        return [
            BackendObject(each.name, "" if each.fault else form)
            for each, form in forms
            if form in identities or each.name in names
        ]

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        wanted = f"{zfs_names.dataset_of(found.name)}@{name}"
        if not zfs_names.is_snapshot(wanted):
            raise errors.ConfigurationError(
                f"{wanted!r} can't be a name: ZFS has letters, digits and '-_.: ' in a snapshot's, and "
                f"{zfs_names.LONGEST_NAME} characters at most in all; change snapshot_name_template"
            )
        return wanted

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        return renaming.manage(self, self._renewed(binding))

    def unmanage_snapshot(self, binding: Binding) -> None:
        binding = self._renewed(binding)
        if renaming.unmanage(self, binding):
            return
        # Its dataset may have been renamed.
        moved = renaming.relocated(binding, self.locate({binding.identity}, ()), "@")
        if moved and zfs_names.is_within(moved.managed_name, self._dataset):
            renaming.unmanage(self, moved)

    def renewed_identities(self, bindings: Sequence[Binding]) -> Mapping[str, str]:
        """Return the present identity of each binding that has the form of an earlier release, by the old one.

        An object counts as found when its old form and its name agree; where its dataset was renamed or a
        clone promoted, when just one object has both the old form and the managed name behind the @.
        Bindings whose object isn't found so are left out. Raise `BackendError`.
        """
        old = [binding for binding in bindings if zfs_identities.is_old(binding.identity)]
        if not old:
            return {}
        code, output, error = self._get([self._dataset], recursive=True)
        found = report.read(output)
        # Damage keeps some from being found, and the backend from being served no more than it does listings.
        if self._dataset not in found or (code != 0 and not failures.damaged(error)):
            raise self._away(code, error)
        return zfs_identities.renewed(old, [each for each in found.values() if each.is_snapshot])

    def _renewed(self, binding: Binding) -> Binding:
        """Return the binding with the present identity; the names of one lie in one dataset, so it has one at most."""
        if not zfs_identities.is_old(binding.identity):
            return binding
        named = self._named(binding.original_name, binding.managed_name)
        [*found] = (each for each in named.values() if each.is_snapshot and each.old_identity == binding.identity)
        return replace(binding, identity=found[0].identity) if found else binding

    def look(self, *names: str) -> dict[str, BackendSnapshot]:
        found = self._named(*names)
        for name in names:
            if name in found and found[name].fault:
                raise errors.BackendError(f"can't tell what {name!r} is: {found[name].fault}")
        return {snapshot.name: snapshot for snapshot in self._snapshots(found)}

    def rename(self, old: str, new: str) -> None:
        if self._delegated:
            code, _, error = commands.rename(old, new, self._deadline)
        else:
            code, _, error = privsep.ask(privileged.zfs_rename, old, new, self._deadline)
        if code != 0:
            raise failures.failure(f"renaming {old!r} to {new!r}", code, error)

    def _find(self, reference: Reference) -> dict[str, Dataset]:
        """What a caller means, under its name, together with its dataset."""
        name = reference.name()
        if not zfs_names.is_dataset(name) and not zfs_names.is_snapshot(name):
            raise errors.InvalidReference(f"ZFS has nothing that could be called {name!r}")
        if not zfs_names.is_within(name, self._dataset):
            raise errors.SourceNotFound(f"{name!r} isn't within the dataset {self._dataset!r}")
        found = self._named(name)
        if name not in found:
            raise errors.SourceNotFound(f"ZFS has no {name!r}")
        return {each: found[each] for each in (zfs_names.dataset_of(name), name) if each in found}

    def _named(self, *names: str) -> dict[str, Dataset]:
        """What of the names exists, together with their datasets and our own, which says that ZFS is there."""
        asked = list(dict.fromkeys([self._dataset, *map(zfs_names.dataset_of, names), *names]))
        code, output, error = self._get(asked, recursive=False)
        found = report.read(output)
        if code != 0 and (self._dataset not in found or not failures.only_absent(asked, found, error)):
            raise self._away(code, error)
        return found

    def _get(self, names: list[str], recursive: bool) -> Ended:
        if self._delegated:
            return commands.get(names, recursive, self._deadline)
        ended: Ended = privsep.ask(privileged.zfs_get, names, recursive, self._deadline)
        return ended

    def _snapshots(self, found: dict[str, Dataset]) -> list[BackendSnapshot]:
        mounted = zfs_mounts.snapshots(mounts.mounts())
        return [
            each.snapshot(
                found.get(zfs_names.dataset_of(each.name)), mounted.get(each.name, ""), self._longest_own_name
            )
            for each in found.values()
            if each.is_snapshot
        ]

    @property
    def _rest_name(self) -> str:
        return f"{self._dataset}@*"

    def _overlooked(self, found: Mapping[str, Dataset]) -> dict[str, Dataset]:
        """Read what a listing that was cut short left out, as far as this host knows its name."""
        known = zfs_mounts.datasets(mounts.mounts(), self._dataset)
        names = [name for name in known if name not in found]
        read: dict[str, Dataset] = {}
        for start in range(0, len(names), _NAMES_AT_ONCE):
            _, output, _ = self._get(names[start : start + _NAMES_AT_ONCE], recursive=True)
            read |= report.read(output)
        return read

    def _find_rest(self) -> BackendSnapshot:
        for snapshot in self.list_snapshots():
            if snapshot.name == self._rest_name:
                return snapshot
        raise errors.InvalidReference(f"ZFS has nothing that could be called {self._rest_name!r}")

    def _rest(self, error: str) -> BackendSnapshot:
        """Stand for what ZFS couldn't list; no real snapshot has such a name."""
        reason = f"zfs can't list everything in the dataset, see zpool status -v (zfs says: {failures.line(error)})"
        identity = report.unreadable_identity(self._rest_name)
        return BackendSnapshot(self._rest_name, identity, 0, None, unsafe=Unsafe.UNUSABLE, unsafe_reason=reason)

    def _away(self, code: int, error: str) -> errors.SnapmanageError:
        failure = failures.failure(f"looking at the dataset {self._dataset!r}", code, error)
        if isinstance(failure, errors.BackendError):
            return failure
        return errors.BackendUnavailable(f"{failure}: see whether its pool is imported")


def _length_of(template: str) -> int:
    """The characters of a managed snapshot's own name; 0 where snapshots keep their names."""
    return len(template % uuid.UUID(int=0)) if template else 0
