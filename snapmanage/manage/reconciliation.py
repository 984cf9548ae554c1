"""Compare a server's records with its backend while the server and other users of the backend work."""

from collections.abc import Sequence

from snapmanage.core import reconciliation
from snapmanage.core.backend import BackendObject
from snapmanage.core.lifecycle import Change
from snapmanage.core.reconciliation import Difference
from snapmanage.core.records import Snapshot, changed, ids_in
from snapmanage.drivers.protocol import Driver
from snapmanage.store import records
from snapmanage.store.engine.database import Database


def differences(db: Database, server: str, driver: Driver) -> list[Difference]:
    """Return the differences, except for snapshots that changed during the comparison; pass the driver's errors on."""
    before = _resolved(db, server)
    seen = driver.list_snapshots()
    located = _located(driver, reconciliation.unlisted(before, seen))
    still = reconciliation.settled(before, _resolved(db, server))
    storage = driver.storage_id() if any(each.storage for each in still) else None
    found = reconciliation.on_storage(reconciliation.differences(still, seen, located), storage)
    return _with_other_owners(db, server, still, list(found))


def _with_other_owners(
    db: Database, server: str, snapshots: Sequence[Snapshot], found: Sequence[Difference]
) -> list[Difference]:
    """Return the differences, with those of objects that another server's records own; no fix may touch these."""
    named = {each for difference in found if difference.binding for each in ids_in(difference.binding.original_name)}
    with db.read() as conn:
        live, elsewhere = records.live(conn, named), records.owners_elsewhere(conn, server, snapshots)
    return [
        *reconciliation.guarded(found, live, elsewhere),
        *reconciliation.owned_elsewhere(snapshots, elsewhere),
    ]


def record_size(db: Database, snapshot: Snapshot, size_gb: int) -> bool:
    """Write a snapshot's size; return False if the snapshot has changed meanwhile."""
    return db.write(
        lambda conn, now: bool(
            records.update(conn, [Change(snapshot, changed(snapshot, size_gb=size_gb, updated_at=now))])
        )
    )


def _resolved(db: Database, server: str) -> Sequence[Snapshot]:
    with db.read() as conn:
        return records.resolved(conn, server)


def _located(driver: Driver, unlisted: Sequence[Snapshot]) -> Sequence[BackendObject]:
    """Locate the unlisted snapshots: one whose volume is gone exists, for example, and isn't listed."""
    if not unlisted:
        return []
    identities = {each.backend_id for each in unlisted if each.backend_id}
    return driver.locate(identities, {each.backend_name for each in unlisted if each.backend_name})
