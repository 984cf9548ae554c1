"""Scans of one backend through a vendor driver: concurrent callers share a scan, and no rename runs during one.

A listing of a vendor driver isn't made at one moment: several drivers read each object with a command of its own, and
fail when it is renamed meanwhile. Scans and renames of this process therefore exclude each other. A caller that waits
for a scan takes the result of the next one, even if another caller started it.
"""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from snapmanage import errors
from snapmanage.core.backend import BackendObject, BackendSnapshot
from snapmanage.drivers.cinder.entries import ListingEntry, parse_entry
from snapmanage.drivers.cinder.process import CinderProcess
from snapmanage.drivers.cinder.vendors import Vendor

MAX_ATTEMPTS = 3


class Scanner:
    """Scans of one backend, and the calls that must not overlap with them."""

    def __init__(self, process: CinderProcess, vendor: Vendor) -> None:
        self._process = process
        self._vendor = vendor
        self._exclusive = threading.Lock()
        self._requests = threading.Lock()
        self._started = 0
        self._records: dict[str, str] = {}
        self._last: tuple[int, list[ListingEntry]] = (0, [])

    def call_between_scans(self, operation: str, **arguments: Any) -> None:
        """Call the vendor driver while no scan runs."""
        with self._exclusive:
            self._process.call(operation, **arguments)

    def snapshots(self, records: Mapping[str, str]) -> list[ListingEntry]:
        """Return the snapshots from a scan that starts after this call.

        `records` are managed names by the id of their record; the driver marks the entries that belong to them.
        """
        with self._requests:
            started_before = self._started
            self._records |= records
        with self._exclusive:
            number, entries = self._last
            if number > started_before:
                return entries
            with self._requests:
                self._started += 1
                all_records, self._records = {**self._records, **records}, {}
            entries = self._scan(lambda: self._process.call("snapshots", records=all_records))
            self._last = (self._started, entries)
            return entries

    @property
    def waiting(self) -> Mapping[str, str]:
        """Return the managed names that the next scan will pass on, by the id of their record."""
        return self._records

    def volumes(self) -> list[ListingEntry]:
        with self._exclusive:
            return self._scan(lambda: self._process.call("volumes"), ListingEntry.with_advice)

    def describe(self, entries: Sequence[ListingEntry]) -> list[BackendSnapshot]:
        """Return the entries as snapshots; read the volume's size where the driver's size of a snapshot is wrong."""
        sizes: dict[str, int] = {}
        if self._vendor.uses_volume_size:
            volumes = {each.parent for each in entries if each.parent}
            sizes = {volume: self._process.call("volume_size_gb", volume=volume) for volume in volumes}
        return [each.as_snapshot(sizes.get(each.parent or "", each.size_gb)) for each in entries]

    def locate(self, records: Mapping[str, str], identities: Collection[str]) -> list[BackendObject]:
        """Return the objects that have one of the identities or one of the names of `records` (names by record id).

        The search covers the listing of snapshots, the listing of volumes, and the table of `identities`, which has
        all objects of the backend where the driver offers one.
        """
        names = set(records.values())
        objects = self._all_objects(records, sorted(identities))
        return list(dict.fromkeys(each for each in objects if each.identity in identities or each.name in names))

    def _all_objects(self, records: Mapping[str, str], identities: Sequence[str]) -> Iterator[BackendObject]:
        # A driver that chooses names itself marks the objects of records; these get their managed names here.
        marked = {} if self._vendor.renames_to_any_name else records
        for entry in self.snapshots(records):
            yield BackendObject(marked.get(entry.record_id or "", entry.name), entry.identity if entry.stable else "")
        for entry in self.volumes():
            yield BackendObject(entry.name, entry.identity if entry.stable else "")
        for name, identity in (self._process.call("identities", ids=identities) or {}).items():
            yield BackendObject(name, identity or "")

    def _scan(
        self, scan: Callable[[], Any], adapt: Callable[[ListingEntry], ListingEntry] = lambda entry: entry
    ) -> list[ListingEntry]:
        """Scan, and `adapt` the driver's entries.

        Scan again while listed objects lack an identity: another process may have renamed them in between.
        """
        for _ in range(MAX_ATTEMPTS):
            answer = scan()
            identities = answer["identities"]
            refusals = answer.get("refusals", {})
            entries = [
                adapt(parse_entry(self._vendor, entry, identities)).with_refusal(refusals)
                for entry in answer["entries"]
            ]
            if identities is None or all(each.name in identities for each in entries):
                return [each for each in entries if each.identity]
        raise errors.BackendBusy(f"the backend changed during each of {MAX_ATTEMPTS} listings; list it again later")
