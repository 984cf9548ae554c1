"""The renames of one batch in a volume group.

A report of `lvs` takes as long as lvm2 reads the group, from milliseconds to seconds. So the driver can't read one
before each rename of a batch. It checks the identity and the use in the last report while that is fresh, and reads
another report when it is not. A report stays fresh in proportion to its cost, so that such reports take 1/40 of the
time at most.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Unsafe, refuse_unsafe
from snapmanage.drivers.batch import NotTried, raise_or_return

LEAST_FRESH_SECONDS = 2.0
MOST_FRESH_SECONDS = 60.0
FRESH_FOR_DURATIONS = 40

Seen = Mapping[str, BackendSnapshot | errors.SnapmanageError]


class GroupRenamer:
    """A `renaming.Renamer` for one batch.

    `look` and `rename` run a command. A command that has waited for the group's lock until its deadline is the last one
    that waits for it: the rest of the batch is not tried.
    """

    def __init__(
        self,
        look: Callable[..., Seen],
        rename: Callable[[str, str], None],
        deadline_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._rename = rename
        self._deadline_seconds = deadline_seconds
        self._clock = clock
        self._names: Sequence[str] = ()
        self._seen: Seen = {}
        self._fresh_until = 0.0
        self._locked: errors.BackendBusy | None = None

    def look(self, *names: str) -> Seen:
        begun = self._clock()
        self._names, self._seen = names, self._look(*names)
        cost = FRESH_FOR_DURATIONS * (self._clock() - begun)
        self._fresh_until = begun + max(LEAST_FRESH_SECONDS, min(cost, MOST_FRESH_SECONDS))
        return self._seen

    def is_still(self, name: str, identity: str) -> bool:
        """Return whether the name is that of the object, in a fresh report; raise `InUse` if its device is open."""
        if self._clock() >= self._fresh_until:
            self._wait_once(self.look, *self._names)
        found = raise_or_return(self._seen[name]) if name in self._seen else None
        if found is None or found.identity != identity:
            return False
        if found.unsafe is Unsafe.IN_USE:
            refuse_unsafe(found)
        return True

    def rename(self, old: str, new: str) -> None:
        self._wait_once(self._rename, old, new)

    def _wait_once(self, command: Callable[..., object], *names: str) -> None:
        """Run a command; raise `NotTried` if an earlier one has waited for the lock until its deadline."""
        if self._locked:
            raise NotTried(str(self._locked))
        begun = self._clock()
        try:
            command(*names)
        except errors.BackendBusy as busy:
            if self._clock() - begun >= self._deadline_seconds:
                self._locked = busy
            raise
