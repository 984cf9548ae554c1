"""Find the objects of many references with one report of ZFS."""

from collections.abc import Mapping, Sequence
from functools import cached_property

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, BackendVolume
from snapmanage.core.reference import Reference
from snapmanage.drivers.batch import try_each
from snapmanage.drivers.system import mounts
from snapmanage.drivers.zfs import unlisted
from snapmanage.drivers.zfs.mounts import mounted_snapshots
from snapmanage.drivers.zfs.names import dataset_of, is_dataset_name, is_snapshot_name, is_within
from snapmanage.drivers.zfs.report import Dataset
from snapmanage.drivers.zfs.scan import Found, Scanner


def described(found: Mapping[str, Dataset], managed_suffix_length: int) -> dict[str, BackendSnapshot]:
    """Describe the snapshots among reported objects, by their names."""
    mounted = mounted_snapshots(mounts.mounts())
    return {
        name: each.snapshot(found.get(dataset_of(name)), mounted.get(name, ""), managed_suffix_length)
        for name, each in found.items()
        if each.is_snapshot
    }


class Lookup:
    """The objects of a batch of references."""

    def __init__(self, scanner: Scanner, references: Sequence[Reference], managed_suffix_length: int) -> None:
        self._scanner = scanner
        self._managed_suffix_length = managed_suffix_length
        names = [each for each in try_each(self._name, references) if isinstance(each, str)]
        self._found = scanner.named(*names) if names else Found({}, {})

    def snapshot(self, reference: Reference) -> BackendSnapshot:
        """Return the snapshot of a reference of the batch, or raise the errors of `Driver.find_snapshot`."""
        dataset = self._scanner.dataset
        if reference.name() == unlisted.name_of_snapshots(dataset) and self._damage:
            return unlisted.snapshots(dataset, self._damage)
        found = self._object(reference)
        if not found.is_snapshot:
            raise errors.NotASnapshot(f"{found.name!r} is a dataset; name one of its snapshots, DATASET@NAME")
        return self._snapshots[found.name]

    def volume(self, reference: Reference) -> BackendVolume:
        """Return the volume of a reference of the batch, or raise the errors of `Driver.find_volume`."""
        dataset = self._scanner.dataset
        if reference.name() == unlisted.name_of_volumes(dataset) and self._damage:
            return unlisted.volumes(dataset, self._damage)
        found = self._object(reference)
        if found.is_snapshot:
            raise errors.NotAVolume(f"{found.name!r} is a snapshot; name the dataset before its @")
        if found.fault:
            raise errors.BackendError(f"{found.name!r} can't be read: {found.fault}")
        return found.volume()

    @cached_property
    def _snapshots(self) -> dict[str, BackendSnapshot]:
        return described(self._found.objects, self._managed_suffix_length)

    @cached_property
    def _damage(self) -> str:
        """The message of ZFS about objects that it can't list, or nothing."""
        return self._scanner.listing()[1]

    def _object(self, reference: Reference) -> Dataset:
        name = self._name(reference)
        if found := self._found.get(name):
            return found
        raise errors.SourceNotFound(f"ZFS has no {name!r}")

    def _name(self, reference: Reference) -> str:
        """Return the name in a reference; raise an error if the dataset can't have such an object."""
        name = reference.name()
        if not is_dataset_name(name) and not is_snapshot_name(name):
            raise errors.InvalidReference(f"ZFS can't have an object named {name!r}")
        if not is_within(name, self._scanner.dataset):
            raise errors.SourceNotFound(f"{name!r} isn't within the dataset {self._scanner.dataset!r}")
        return name
