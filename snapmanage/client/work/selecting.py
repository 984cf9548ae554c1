"""Scan backends, and choose the entries that pass the selectors."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from snapmanage.client.api import scans
from snapmanage.client.api.http import Api
from snapmanage.client.plan.digest import ScanDigest, ScanHash
from snapmanage.client.plan.spool import Spool
from snapmanage.client.selection.criteria import Criteria
from snapmanage.client.selection.found import Found
from snapmanage.client.selection.retention import Candidate


@dataclass(frozen=True)
class Scans:
    """The scanned entries of some backends, in the order of `Found.order`, with the digest of each backend.

    `without_time` is the number of entries for which the service shows no time of creation.
    """

    entries: Spool[Found]
    digests: Mapping[str, ScanDigest]
    without_time: int = 0

    def note(self, criteria: Criteria) -> str | None:
        """Return a sentence if the selectors need times that are unknown."""
        if not self.without_time or not criteria.needs_times:
            return None
        return (
            f"the service shows no time for {self.without_time} of {len(self.entries)} snapshots: no age selects them, "
            "and --latest takes them for the oldest"
        )

    def selected(self, criteria: Criteria) -> Iterator[Found]:
        """Yield the entries that pass all selectors."""
        retained = criteria.retained(_candidates(self.entries, criteria))
        return (
            found for found in self.entries if criteria.passes(found) and (retained is None or _key(found) in retained)
        )


@contextmanager
def scan(api: Api, hosts: Iterable[str], volume_names: Mapping[str, str] = {}) -> Iterator[Scans]:
    """Scan the backends; the entries are in temporary files until the context ends.

    `volume_names` has the names of volumes before they were registered, by the ids of their records.
    """
    with Spool[Found](key=Found.order) as spool:
        hosts = list(dict.fromkeys(hosts))
        for host in hosts:
            for found in scans.manageable(api, host, {}):
                spool.add(found.with_volume_names(volume_names))
        yield Scans(spool, _digests(spool, hosts), sum(found.made_at is None for found in spool))


def _digests(spool: Spool[Found], hosts: Iterable[str]) -> dict[str, ScanDigest]:
    hashes: Any = defaultdict(ScanHash)
    for found in spool:
        hashes[found.host].add(found)
    return {host: hashes[host].result() for host in hosts}


def _candidates(entries: Iterable[Found], criteria: Criteria) -> Iterator[Candidate]:
    for found in entries:
        if criteria.passes(found):
            yield Candidate(_key(found), f"{found.host}\0{found.parent or ''}", found.made_at)


def _key(found: Found) -> str:
    return f"{found.host}\0{found.name}"
