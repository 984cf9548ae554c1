"""Read datasets and snapshots with `zfs get`, as root or as snapmanage's own user."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from snapmanage import errors
from snapmanage.drivers.system import mounts, privsep
from snapmanage.drivers.system.commands import CompletedCommand
from snapmanage.drivers.zfs import commands, failures, privileged, report
from snapmanage.drivers.zfs.mounts import visible_datasets
from snapmanage.drivers.zfs.names import dataset_of, pool_of
from snapmanage.drivers.zfs.report import Dataset

# The byte that ends an argument, and the pointer to it.
_BYTES_OF_AN_ARGUMENT = 1 + 8
_LARGEST_BYTES = 2 * 1024**2


@dataclass(frozen=True)
class Found:
    """Objects by name, and the errors of those that ZFS can't read; a name in neither doesn't exist."""

    objects: Mapping[str, Dataset]
    unreadable: Mapping[str, errors.BackendError]

    def get(self, name: str) -> Dataset | None:
        """Return the object of a name, or None; raise the error of one that, or whose dataset, can't be read."""
        for each in (name, dataset_of(name)):
            if each in self.unreadable:
                raise self.unreadable[each]
        return self.objects.get(name)


class Scanner:
    """Reads the configured dataset, the datasets beneath it, and their snapshots. Results have names as keys.

    Every method raises `BackendError` where ZFS doesn't answer, and never returns an empty result instead.
    """

    def __init__(self, dataset: str, delegated: bool, deadline_seconds: float) -> None:
        self.dataset = dataset
        self._delegated = delegated
        self._deadline_seconds = deadline_seconds

    def named(self, *names: str) -> Found:
        """Look for objects by name, for their datasets, and for the configured dataset.

        One command reports them all, in the order given. Only very many names need several.
        """
        requested = dict.fromkeys([*map(dataset_of, names), *names])
        requested.pop(self.dataset, None)
        objects: dict[str, Dataset] = {}
        unreadable: dict[str, errors.BackendError] = {}
        for part in _parts(list(requested)):
            reported = self._reported([self.dataset, *part])
            objects |= reported.objects
            unreadable |= reported.unreadable
        return Found(objects, unreadable)

    def listing(self) -> tuple[dict[str, Dataset], str]:
        """Return everything within the configured dataset; where damage hides a part of it, also the message of ZFS."""
        code, output, error = self._get([self.dataset], recursive=True)
        found = report.read(output)
        # Damage of one object cuts the report short, with exit code 0.
        damaged = failures.damaged(error)
        if self.dataset not in found or (code != 0 and not damaged) or failures.may_pass(code, error):
            raise self._unavailable(code, error)
        return (found | self._hidden(found), error) if damaged else (found, "")

    def whole_pool(self) -> dict[str, Dataset]:
        """Return everything in the pool. Raise `BackendError` also where damage hides a part of it."""
        code, output, error = self._get([pool_of(self.dataset)], recursive=True)
        found = report.read(output)
        if code != 0 or self.dataset not in found or failures.damaged(error):
            raise self._unavailable(code, error)
        return found

    def _reported(self, names: list[str]) -> Found:
        """Return what one command reports of the names; the first, the configured dataset, proves that ZFS answers."""
        code, output, error = self._get(names, recursive=False)
        found = report.read(output)
        if code == 0:
            return Found(found, {})
        messages = failures.of_names(error)
        missing = [name for name in names if name not in found]
        if code < 0 or self.dataset not in found or not messages.keys() >= set(missing):
            raise self._unavailable(code, error)
        unreadable = {
            name: _unreadable(f"reading {name!r}", code, messages[name])
            for name in missing
            if not failures.is_absence(messages[name])
        }
        return Found(found, unreadable)

    def _hidden(self, found: Mapping[str, Dataset]) -> dict[str, Dataset]:
        """Read the datasets that damage hides from a listing, as far as this host has them mounted or as devices."""
        names = [name for name in visible_datasets(mounts.mounts(), self.dataset) if name not in found]
        read: dict[str, Dataset] = {}
        for part in _parts(names):
            if part:
                _, output, _ = self._get(part, recursive=True)
                read |= report.read(output)
        return read

    def _get(self, names: list[str], recursive: bool) -> CompletedCommand:
        if self._delegated:
            return commands.get(names, recursive, self._deadline_seconds)
        return CompletedCommand(*privsep.call(privileged.zfs_get, names, recursive, self._deadline_seconds))

    def _unavailable(self, code: int, error: str) -> errors.BackendError:
        return _unreadable(f"reading the dataset {self.dataset!r}", code, error)


def _unreadable(action: str, code: int, error: str) -> errors.BackendError:
    """Return the error of a report that failed, which a retry may cure."""
    failure = failures.failure(action, code, error)
    if isinstance(failure, errors.BackendError):
        return failure
    return errors.BackendUnavailable(f"{failure}: see whether its pool is imported")


def _parts(names: Sequence[str]) -> Iterator[list[str]]:
    """Yield the names in parts, each short enough for one command; one empty part if there are none."""
    part, size = list[str](), 0
    for name in names:
        size += len(name) + _BYTES_OF_AN_ARGUMENT
        if size > _most_bytes():
            yield part
            part, size = [], len(name) + _BYTES_OF_AN_ARGUMENT
        part.append(name)
    yield part


def _most_bytes() -> int:
    """Return how long the names of one command may be: half of what the system allows for arguments and environment.

    The system never allows more than 6 MiB, even with a larger stack.
    """
    return min(os.sysconf("SC_ARG_MAX"), _LARGEST_BYTES) // 2
