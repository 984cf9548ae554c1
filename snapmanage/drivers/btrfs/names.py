"""The names of the subvolumes in a folder, which `snapmanage.drivers.renaming` changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from snapmanage import crash, errors
from snapmanage.core.backend import BackendSnapshot
from snapmanage.crash import Point
from snapmanage.drivers.btrfs import objects, privileged
from snapmanage.drivers.btrfs.view import Member
from snapmanage.drivers.system import privsep

T = TypeVar("T")


@dataclass(frozen=True)
class Names:
    """The `Renamer` of one batch; `identities` are those of the objects that the batch renames."""

    folder: str
    file_system: str
    identities: tuple[str, ...] = ()

    def look(self, *names: str) -> dict[str, BackendSnapshot]:
        found = privsep.call(privileged.subvolumes, self.folder, self.file_system, names, self.identities)
        return {member.name: objects.snapshot(member) for member in (Member(*fields) for fields in found)}

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
        try:
            privsep.call(privileged.sync_names, self.folder, self.file_system, name)
        except errors.SnapmanageError as failure:
            return failure
        return None


def _place(name: str) -> str:
    return name.rpartition("/")[0]
