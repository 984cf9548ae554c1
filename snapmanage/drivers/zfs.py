"""ZFS: the snapshots of one dataset and of those beneath it, file systems and volumes, through the command `zfs`.

One `zfs get` reports everything; when some are asked for by name, they alone. Commands and properties are
those that OpenZFS has in common with zfs-fuse 0.7, which has no volumes.

**Names** are ZFS's own, whole: `tank/volumes/volume-1@daily`. A managed snapshot stays in its dataset,
`tank/volumes/volume-1@snapshot-UUID`.

**Identity** is the guid with the transaction that made the object. A received snapshot has the guid of
the one that was sent, so that it alone would make one of a snapshot and its replica. A clone that is
promoted takes its origin's snapshots over; they keep their identity, and have another parent then.

**Size** is what a volume's data have room for (`volsize`), and what a file system refers to (`referenced`).

**In use.** Holds and clones stay through a rename, and what is mounted beneath `.zfs/snapshot` ZFS unmounts
by itself; it refuses when somebody is in there. A snapshot that is mounted elsewhere, in snapmanage's own
mount namespace, is in use. One that waits to be destroyed (`zfs destroy -d`) can't be used.

**Late renames.** ZFS renames by name only, so what `snapmanage.drivers.renaming` says of them holds here. A
command is asked to end at its deadline; one that hangs in the kernel, on a suspended pool, is left behind.
Nothing is ever removed.
"""

import re
from collections.abc import Collection, Sequence
from typing import ClassVar

from oslo_config import cfg

from snapmanage import errors
from snapmanage.core.backend import BackendObject, BackendSnapshot, BackendVolume, Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers import mounts, privileged, renaming, zfs_commands, zfs_names, zfs_report
from snapmanage.drivers.commands import Ended
from snapmanage.drivers.zfs_report import Dataset

# What stderr may add to an exit code, most telling first.
_MEANINGS: Sequence[tuple[str, type[errors.SnapmanageError], str]] = (
    (r"[Pp]ermission denied", errors.BackendPermission, "let snapmanage be root, or delegate to it with zfs allow"),
    (r"dataset already exists", errors.NameTaken, "rename the other one"),
    (r"dataset is busy", errors.InUse, "see who is in its folder beneath .zfs/snapshot"),
    (r"suspended", errors.BackendUnavailable, "see zpool status"),
    (r"zfs-fuse daemon is running|ZFS modules", errors.BackendUnavailable, "start ZFS"),
    (r"dataset does not exist", errors.SourceNotFound, "list the backend again"),
)


class ZfsDriver:
    """Snapshots within one dataset; see the module for their identity, their size, and when one is in use."""

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
        self, zfs_dataset: str | None = None, zfs_delegated: bool = False, command_timeout_seconds: float = 60
    ) -> None:
        self._dataset = zfs_dataset or ""
        self._delegated = zfs_delegated
        self._deadline = command_timeout_seconds

    def check(self) -> None:
        if not zfs_names.is_dataset(self._dataset):
            raise errors.ConfigurationError(f"zfs_dataset is {self._dataset!r}: set it to the name of a dataset")
        self._named()

    def list_snapshots(self) -> list[BackendSnapshot]:
        code, output, error = self._get([self._dataset], recursive=True)
        if code != 0:
            raise self._away(code, error)
        return self._snapshots(zfs_report.read(output))

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        found = self._find(reference)
        for snapshot in self._snapshots(found):
            return snapshot
        raise errors.NotASnapshot(f"{reference.name()!r} is a dataset; name one of its snapshots, DATASET@NAME")

    def find_volume(self, reference: Reference) -> BackendVolume:
        dataset = self._find(reference)[reference.name()]
        if dataset.is_snapshot:
            raise errors.NotAVolume(f"{dataset.name!r} is a snapshot; name the dataset before its @")
        return BackendVolume(dataset.name, dataset.identity, dataset.size_bytes)

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        # The whole pool: a dataset can be renamed to outside of ours.
        code, output, error = self._get([zfs_names.pool_of(self._dataset)], recursive=True)
        found = zfs_report.read(output)
        if code != 0 or self._dataset not in found:
            raise self._away(code, error)
        every = [BackendObject(each.name, each.identity) for each in found.values()]
        return [each for each in every if each.identity in identities or each.name in names]

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        wanted = f"{zfs_names.dataset_of(found.name)}@{name}"
        if not zfs_names.is_snapshot(wanted):
            raise errors.ConfigurationError(
                f"{wanted!r} can't be a name: ZFS has letters, digits and '-_.: ' in a snapshot's, and "
                f"{zfs_names.LONGEST_NAME} characters at most in all; change snapshot_name_template"
            )
        return wanted

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        return renaming.manage(self, binding)

    def unmanage_snapshot(self, binding: Binding) -> None:
        if renaming.unmanage(self, binding):
            return
        # Its dataset may have been renamed.
        moved = renaming.relocated(binding, self.locate({binding.identity}, ()), "@")
        if moved and zfs_names.is_within(moved.managed_name, self._dataset):
            renaming.unmanage(self, moved)

    def look(self, *names: str) -> dict[str, BackendSnapshot]:
        return {snapshot.name: snapshot for snapshot in self._snapshots(self._named(*names))}

    def rename(self, old: str, new: str) -> None:
        if self._delegated:
            code, _, error = zfs_commands.rename(old, new, self._deadline)
        else:
            code, _, error = privileged.ask(privileged.zfs_rename, old, new, self._deadline)
        if code != 0:
            raise _failure(f"renaming {old!r} to {new!r}", code, error)

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
        found = zfs_report.read(output)
        if code != 0 and (self._dataset not in found or not _only_absent(asked, found, error)):
            raise self._away(code, error)
        return found

    def _get(self, names: list[str], recursive: bool) -> Ended:
        if self._delegated:
            return zfs_commands.get(names, recursive, self._deadline)
        return privileged.ask(privileged.zfs_get, names, recursive, self._deadline)

    def _snapshots(self, found: dict[str, Dataset]) -> list[BackendSnapshot]:
        mounted = mounted_snapshots(mounts.mounts())
        return [
            each.snapshot(found.get(zfs_names.dataset_of(each.name)), mounted.get(each.name, ""))
            for each in found.values()
            if each.is_snapshot
        ]

    def _away(self, code: int, error: str) -> errors.SnapmanageError:
        failure = _failure(f"looking at the dataset {self._dataset!r}", code, error)
        if isinstance(failure, errors.BackendError):
            return failure
        return errors.BackendUnavailable(f"{failure}: see whether its pool is imported")


def mounted_snapshots(known: Sequence[mounts.Mount]) -> dict[str, str]:
    """Where snapshots are mounted by somebody's wish; what appears beneath `.zfs/snapshot` goes away by itself."""
    return {
        mount.source.decode(errors="replace"): mount.point.decode(errors="replace")
        for mount in known
        if mount.kind == "zfs" and b"/.zfs/snapshot/" not in mount.point
    }


def _only_absent(asked: Sequence[str], found: dict[str, Dataset], error: str) -> bool:
    """Whether each name that wasn't reported is said not to be there, and nothing else went wrong."""
    absent = [name for name in asked if name not in found]
    return all(f"cannot open '{name}': dataset does not exist" in error for name in absent)


def _failure(doing: str, code: int, error: str) -> errors.SnapmanageError:
    """What went wrong in a command that failed, as far as it can be told."""
    said = " ".join(error.split())
    if code < 0:
        return errors.BackendUnavailable(f"{doing} was ended at its deadline (signal {-code}): {said}")
    for text, kind, remedy in _MEANINGS:
        if re.search(text, error):
            return kind(f"{doing} failed: {remedy} (zfs says: {said})")
    return errors.BackendError(f"{doing} failed with exit code {code}: {said}")
