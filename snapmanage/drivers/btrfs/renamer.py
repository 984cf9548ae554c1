"""The names of the subvolumes in a folder, which `snapmanage.drivers.renaming` changes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from snapmanage import crash, errors
from snapmanage.core.backend import BackendSnapshot, Binding
from snapmanage.crash import Point
from snapmanage.drivers.batch import try_one
from snapmanage.drivers.btrfs import objects, privileged, reading
from snapmanage.drivers.btrfs.view import Member
from snapmanage.drivers.system import privsep

T = TypeVar("T")


@dataclass(frozen=True)
class FolderRenamer:
    """The `Renamer` of one batch; `bindings` are those of the objects that the batch renames."""

    folder: str
    file_system: str
    bindings: tuple[Binding, ...] = ()

    def look(self, *names: str) -> dict[str, BackendSnapshot | errors.SnapmanageError]:
        found, undecided = reading.look_up(self.folder, self.file_system, names)
        seen = reading.with_search(self.folder, self.file_system, found, undecided | self._lost(names, found))
        return {name: objects.snapshot(each) if isinstance(each, Member) else each for name, each in seen.items()}

    def _lost(self, names: Collection[str], found: Mapping[str, Member]) -> set[str]:
        """Return both names of each object that has neither of them: a rename at this moment can hide an object."""
        present, looked_at = {each.identity for each in found.values()}, frozenset(names)
        lost = [{each.original_name, each.managed_name} for each in self.bindings if each.identity not in present]
        return {name for pair in lost if pair <= looked_at for name in pair}

    def rename(self, old: str, new: str) -> None:
        privsep.call(privileged.rename_subvolume, self.folder, self.file_system, old, new)

    def rename_if_still(self, old: str, new: str, identity: str) -> None:
        privsep.call(privileged.rename_subvolume, self.folder, self.file_system, old, new, identity)

    def synced(
        self, results: Sequence[T | errors.SnapmanageError], names: Sequence[str]
    ) -> list[T | errors.SnapmanageError]:
        """Write the folder of each name to the disk, once, and return the results; a failure replaces a result.

        A name whose result is an error is left out. The folders of the others are written even if nothing was renamed,
        since an earlier worker may have died right after its rename.
        """
        pairs = list(zip(results, names, strict=True))
        done = {_place(name): name for result, name in pairs if not isinstance(result, errors.SnapmanageError)}
        failures = {place: self._sync(name) for place, name in done.items()}
        return [
            result if isinstance(result, errors.SnapmanageError) else failures[_place(name)] or result
            for result, name in pairs
        ]

    def _sync(self, name: str) -> errors.SnapmanageError | None:
        crash.at(Point.RENAME_UNSYNCED)
        return try_one(privsep.call, privileged.sync_names, self.folder, self.file_system, name)


def _place(name: str) -> str:
    return name.rpartition("/")[0]
