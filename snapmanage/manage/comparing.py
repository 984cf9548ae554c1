"""Comparing a server's records with its backend while both go on."""

from collections.abc import Sequence

from snapmanage import errors
from snapmanage.core import reconciliation
from snapmanage.core.reconciliation import Difference, Kind
from snapmanage.core.records import Snapshot
from snapmanage.core.reference import Reference
from snapmanage.drivers.base import Driver
from snapmanage.store import records
from snapmanage.store.database import Database


def differences(db: Database, server: str, driver: Driver) -> list[Difference]:
    """Where they disagree, leaving out what moved meanwhile; whatever the driver raises."""
    before = _resolved(db, server)
    seen = driver.list_snapshots()
    still = reconciliation.settled(before, _resolved(db, server))
    return [each for each in reconciliation.differences(still, seen) if not _there_all_the_same(driver, each)]


def _resolved(db: Database, server: str) -> Sequence[Snapshot]:
    with db.read() as conn:
        return records.resolved(conn, server)


def _there_all_the_same(driver: Driver, difference: Difference) -> bool:
    """Whether what looks gone is found by name: not every snapshot is listed, such as one whose volume is gone."""
    if difference.kind is not Kind.VANISHED:
        return False
    try:
        there = driver.find_snapshot(Reference.named(difference.snapshot.backend_name or ""))
    except errors.Invalid:
        return False
    return there.identity == difference.snapshot.backend_id
