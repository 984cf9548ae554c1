"""What a vendor's driver of Cinder can show of objects by name and identity, whether or not they are snapshots to it.

Three views are put together: its listing of snapshots, its listing of volumes, and the table of
`identities`, which has everything that the backend holds, where there is one for the driver.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from snapmanage.core.backend import BackendObject
from snapmanage.drivers.cinder.process import CinderProcess
from snapmanage.drivers.cinder.scan import Scans, Seen
from snapmanage.drivers.cinder.vendors import Vendor


def located(
    process: CinderProcess,
    scans: Scans,
    vendor: Vendor,
    records: Mapping[str, str],
    identities: Collection[str],
) -> list[BackendObject]:
    """Return what has one of the identities, or one of the names that `records` have by the ids of their records."""
    names = set(records.values())
    marked = {} if vendor.renames_to_any_name else records
    every = _every(process, scans, marked, records, sorted(identities))
    return list(dict.fromkeys(each for each in every if each.identity in identities or each.name in names))


def _every(
    process: CinderProcess,
    scans: Scans,
    marked: Mapping[str, str],
    records: Mapping[str, str],
    identities: Sequence[str],
) -> Iterator[BackendObject]:
    """Everything that is shown; `marked` are records whose objects the driver marks and calls by names of its own."""
    for seen in scans.snapshots(records):
        yield BackendObject(marked.get(seen.record_id or "", seen.name), _identity(seen))
    for seen in scans.volumes():
        yield BackendObject(seen.name, _identity(seen))
    for name, identity in (process.call("objects", wanted=identities) or {}).items():
        yield BackendObject(name, identity or "")


def _identity(seen: Seen) -> str:
    """Return the identity; empty where the name is all that the vendor's driver tells."""
    return seen.identity if seen.stable else ""
