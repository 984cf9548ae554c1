"""Compare a server's records with its backend while both are in use, and fix the differences."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from snapmanage.core.backend import BackendObject
from snapmanage.core.change import Change
from snapmanage.core.maintenance import reconciliation
from snapmanage.core.maintenance.reconciliation import Difference, Kind
from snapmanage.core.records import Snapshot, changed
from snapmanage.core.values.ids import ids_in
from snapmanage.drivers.protocol import Driver
from snapmanage.manage import unmanaging
from snapmanage.manage.application import Application
from snapmanage.store import ownership, records
from snapmanage.store.engine.database import Database


def differences(db: Database, server: str, driver: Driver) -> list[Difference]:
    """Return the differences between a server's records and its backend; raise any error of the driver.

    Snapshots that changed while the backend was listed are left out.
    """
    before = _resolved(db, server)
    seen = driver.list_snapshots()
    located = _located(driver, reconciliation.unlisted(before, seen))
    unchanged = reconciliation.settled(before, _resolved(db, server))
    # Without a storage id in the records there is nothing to compare the backend's id with.
    storage = driver.storage_id() if any(each.storage for each in unchanged) else None
    found = reconciliation.on_storage(reconciliation.differences(unchanged, seen, located), storage)
    return _with_other_owners(db, server, unchanged, list(found))


def _with_other_owners(
    db: Database, server: str, snapshots: Sequence[Snapshot], found: Sequence[Difference]
) -> list[Difference]:
    """Add the differences of objects that another server's records own; `fix` must not touch such objects."""
    named = {each for difference in found if difference.binding for each in ids_in(difference.binding.original_name)}
    with db.read() as conn:
        live, elsewhere = ownership.live(conn, named), ownership.owners_elsewhere(conn, server, snapshots)
    return [
        *reconciliation.guarded(found, live, elsewhere),
        *reconciliation.owned_elsewhere(snapshots, elsewhere),
    ]


def fix(app: Application, driver: Driver, difference: Difference) -> str:
    """Fix a difference if that is safe; return a sentence that says what was done, or why a person must decide."""
    snapshot = difference.snapshot
    if difference.kind is Kind.RENAMED and difference.binding:
        return f"Renamed it back to {driver.manage_snapshot(difference.binding).name!r}."
    if difference.kind is Kind.VANISHED and difference.certain:
        unmanaging.unmanage(app, snapshot.id, snapshot.requester, everywhere=True)
        return "Requested to unmanage it."
    if difference.size_gb is not None:
        if record_size(app.db, snapshot, difference.size_gb):
            return f"Recorded its size, {difference.size_gb} GiB."
        return "Not fixed: its record changed meanwhile; repeat the command."
    return "Not fixed: a person must decide whether to unmanage the record or to rename the object."


def record_size(db: Database, snapshot: Snapshot, size_gb: int) -> bool:
    """Write a snapshot's size into its record; return False if the record has changed meanwhile."""

    def write(conn: Connection, now: datetime) -> bool:
        sized = changed(snapshot, size_gb=size_gb, updated_at=now)
        return bool(records.update(conn, [Change(snapshot, sized)]))

    return db.write(write)


def _resolved(db: Database, server: str) -> Sequence[Snapshot]:
    with db.read() as conn:
        return records.resolved(conn, server)


def _located(driver: Driver, unlisted: Sequence[Snapshot]) -> Sequence[BackendObject]:
    """Locate the unlisted snapshots: one whose volume is gone, for example, exists but isn't listed."""
    if not unlisted:
        return []
    identities = {each.backend_id for each in unlisted if each.backend_id}
    return driver.locate(identities, {each.backend_name for each in unlisted if each.backend_name})
