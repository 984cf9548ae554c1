"""What a vendor's driver lists, as values; and one scan for all who wait for one.

Listings of Cinder's drivers aren't made at one moment: several look at each object by a command of its
own, and fail when it is renamed meanwhile. So scans and renames of this process take turns, and who
waits for a scan takes what another has asked for in the meantime.
"""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from snapmanage import errors
from snapmanage.core.backend import BackendObject, BackendSnapshot
from snapmanage.drivers.cinder.entries import Seen, read_entry
from snapmanage.drivers.cinder.process import CinderProcess
from snapmanage.drivers.cinder.vendors import Vendor

SCANS = 3


class Scans:
    """Scans of one backend, which take turns with what changes it."""

    def __init__(self, process: CinderProcess, vendor: Vendor) -> None:
        self._process = process
        self._vendor = vendor
        self._turn = threading.Lock()
        self._asking = threading.Lock()
        self._begun = 0
        self._records: dict[str, str] = {}
        self._last: tuple[int, list[Seen]] = (0, [])

    def change(self, operation: str, **arguments: Any) -> None:
        """Call what changes the backend; no scan runs meanwhile."""
        with self._turn:
            self._process.call(operation, **arguments)

    def snapshots(self, records: Mapping[str, str]) -> list[Seen]:
        """What there is at a moment after the call; `records` are names by record, for the driver to mark as theirs."""
        with self._asking:
            asked = self._begun
            self._records |= records
        with self._turn:
            number, seen = self._last
            if number > asked:
                return seen
            with self._asking:
                self._begun += 1
                wanted, self._records = {**self._records, **records}, {}
            seen = self._complete(lambda: self._process.call("snapshots", records=wanted))
            self._last = (self._begun, seen)
            return seen

    @property
    def waiting(self) -> Mapping[str, str]:
        """The records that the next scan will be asked for."""
        return self._records

    def volumes(self) -> list[Seen]:
        with self._turn:
            return self._complete(lambda: self._process.call("volumes"))

    def described(self, seen: Sequence[Seen]) -> list[BackendSnapshot]:
        """Snapshots as drivers tell them; the volume is asked for its size where the snapshot's own is wrong."""
        sizes: dict[str, int] = {}
        if self._vendor.size_of_volume:
            volumes = {each.parent for each in seen if each.parent}
            sizes = {volume: self._process.call("size_gb", volume=volume) for volume in volumes}
        return [each.described(sizes.get(each.parent or "", each.size_gb)) for each in seen]

    def located(self, records: Mapping[str, str], identities: Collection[str]) -> list[BackendObject]:
        """Return what has one of the identities, or one of the names that `records` have by the ids of their records.

        Three views are put together: the listing of snapshots, the listing of volumes, and the table of `identities`,
        which has everything that the backend holds, where there is one for the driver.
        """
        names = set(records.values())
        every = self._every(records, sorted(identities))
        return list(dict.fromkeys(each for each in every if each.identity in identities or each.name in names))

    def _every(self, records: Mapping[str, str], identities: Sequence[str]) -> Iterator[BackendObject]:
        # Records whose objects the driver marks and calls by names of its own.
        marked = {} if self._vendor.renames_to_any_name else records
        for seen in self.snapshots(records):
            yield BackendObject(marked.get(seen.record_id or "", seen.name), seen.identity if seen.stable else "")
        for seen in self.volumes():
            yield BackendObject(seen.name, seen.identity if seen.stable else "")
        for name, identity in (self._process.call("objects", wanted=identities) or {}).items():
            yield BackendObject(name, identity or "")

    def _complete(self, scan: Callable[[], Any]) -> list[Seen]:
        """Scan until all that was listed is still there for its identity to be told: others may rename meanwhile."""
        for _ in range(SCANS):
            answer = scan()
            identities = answer["identities"]
            refusals = answer.get("refusals", {})
            seen = [read_entry(self._vendor, entry, identities).refused(refusals) for entry in answer["entries"]]
            if identities is None or all(each.name in identities for each in seen):
                return [each for each in seen if each.identity]
        raise errors.BackendBusy("the backend changed each time while it was being listed")
