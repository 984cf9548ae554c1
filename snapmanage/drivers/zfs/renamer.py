"""The renames of a batch of snapshots, which ZFS knows by name only."""

import time

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot
from snapmanage.drivers.batch import raise_or_return, try_each
from snapmanage.drivers.system import privsep
from snapmanage.drivers.system.commands import CompletedCommand
from snapmanage.drivers.zfs import commands, failures, privileged
from snapmanage.drivers.zfs.lookup import described
from snapmanage.drivers.zfs.scan import Scanner

# Seconds after which a report is too old to decide on a rename. A report costs as much as a few renames.
FRESH_SECONDS = 2.0

Reported = BackendSnapshot | errors.SnapmanageError


class DatasetRenamer:
    """The renames of one batch; a `Renamer`. One report serves all those that follow within `FRESH_SECONDS`."""

    def __init__(self, scanner: Scanner, managed_suffix_length: int, delegated: bool, deadline_seconds: float) -> None:
        self._scanner = scanner
        self._managed_suffix_length = managed_suffix_length
        self._delegated = delegated
        self._deadline_seconds = deadline_seconds
        self._pending: dict[str, Reported] = {}
        self._reported_at = 0.0

    def look(self, *names: str) -> dict[str, Reported]:
        began = time.monotonic()
        found = self._scanner.named(*names)
        snapshots = described(found.objects, self._managed_suffix_length)

        def reported(name: str) -> BackendSnapshot | None:
            each = found.get(name)
            if each is not None and each.fault:
                raise errors.BackendError(f"{name!r} can't be read: {each.fault}")
            return snapshots.get(name)

        results = zip(names, try_each(reported, names), strict=True)
        self._pending = {name: each for name, each in results if each is not None}
        self._reported_at = began
        return dict(self._pending)

    def is_still(self, name: str, identity: str) -> bool:
        if time.monotonic() - self._reported_at > FRESH_SECONDS:
            self.look(name, *self._pending)
        found = self._pending.pop(name, None)
        return found is not None and raise_or_return(found).identity == identity

    def rename(self, old: str, new: str) -> None:
        if self._delegated:
            completed = commands.rename(old, new, self._deadline_seconds)
        else:
            completed = CompletedCommand(*privsep.call(privileged.zfs_rename, old, new, self._deadline_seconds))
        if completed.exit_code != 0:
            raise failures.failure(f"renaming {old!r} to {new!r}", completed.exit_code, completed.error)
