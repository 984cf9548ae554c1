"""Read datasets and snapshots with `zfs get`, as root or as snapmanage's own user."""

from collections.abc import Mapping

from snapmanage import errors
from snapmanage.drivers.system import mounts, privsep
from snapmanage.drivers.system.commands import CompletedCommand
from snapmanage.drivers.zfs import commands, failures, privileged, report
from snapmanage.drivers.zfs.mounts import visible_datasets
from snapmanage.drivers.zfs.names import dataset_of, pool_of
from snapmanage.drivers.zfs.report import Dataset

# The number of names that fit into one command.
_NAMES_AT_ONCE = 1000


class Scanner:
    """Reads the configured dataset, the datasets beneath it, and their snapshots. Results have names as keys.

    Every method raises `BackendError` where ZFS doesn't answer, and never returns an empty result instead.
    """

    def __init__(self, dataset: str, delegated: bool, deadline_seconds: float) -> None:
        self._dataset = dataset
        self._delegated = delegated
        self._deadline_seconds = deadline_seconds

    def named(self, *names: str) -> dict[str, Dataset]:
        """Return those of the names that exist, their datasets, and the configured dataset.

        The configured dataset proves that ZFS answers.
        """
        requested = list(dict.fromkeys([self._dataset, *map(dataset_of, names), *names]))
        code, output, error = self._get(requested, recursive=False)
        found = report.read(output)
        if code != 0 and (self._dataset not in found or not failures.only_absent(requested, found, error)):
            raise self._unavailable(code, error)
        return found

    def listing(self) -> tuple[dict[str, Dataset], str]:
        """Return everything within the configured dataset; where damage hides a part of it, also the message of ZFS."""
        code, output, error = self._get([self._dataset], recursive=True)
        found = report.read(output)
        # Damage of one object cuts the report short, with exit code 0.
        damaged = failures.damaged(error)
        if self._dataset not in found or (code != 0 and not damaged) or failures.may_pass(code, error):
            raise self._unavailable(code, error)
        return (found | self._hidden(found), error) if damaged else (found, "")

    def whole_pool(self) -> dict[str, Dataset]:
        """Return everything in the pool. Raise `BackendError` also where damage hides a part of it."""
        code, output, error = self._get([pool_of(self._dataset)], recursive=True)
        found = report.read(output)
        if code != 0 or self._dataset not in found or failures.damaged(error):
            raise self._unavailable(code, error)
        return found

    def _hidden(self, found: Mapping[str, Dataset]) -> dict[str, Dataset]:
        """Read the datasets that damage hides from a listing, as far as this host has them mounted or as devices."""
        names = [name for name in visible_datasets(mounts.mounts(), self._dataset) if name not in found]
        read: dict[str, Dataset] = {}
        for start in range(0, len(names), _NAMES_AT_ONCE):
            _, output, _ = self._get(names[start : start + _NAMES_AT_ONCE], recursive=True)
            read |= report.read(output)
        return read

    def _get(self, names: list[str], recursive: bool) -> CompletedCommand:
        if self._delegated:
            return commands.get(names, recursive, self._deadline_seconds)
        return CompletedCommand(*privsep.call(privileged.zfs_get, names, recursive, self._deadline_seconds))

    def _unavailable(self, code: int, error: str) -> errors.SnapmanageError:
        failure = failures.failure(f"reading the dataset {self._dataset!r}", code, error)
        if isinstance(failure, errors.BackendError):
            return failure
        return errors.BackendUnavailable(f"{failure}: see whether its pool is imported")
