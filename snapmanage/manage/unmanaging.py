"""Unmanage snapshots: write the request and the cast, or the tombstone where there is no object to rename."""

from snapmanage import crash, errors
from snapmanage.core import lifecycle, outbox, removals
from snapmanage.core.records import Requester, Snapshot
from snapmanage.crash import Point
from snapmanage.manage import services as servers
from snapmanage.manage.application import Application
from snapmanage.manage.transaction import Transaction
from snapmanage.manage.visibility import visible
from snapmanage.store import ownership, records


def unmanage(app: Application, snapshot_id: str, requester: Requester, everywhere: bool = False) -> Snapshot:
    """Write the request to unmanage a snapshot, and the cast to its server; return the snapshot.

    A snapshot without an object to rename is unmanaged at once, even if its server is down or gone.
    The snapshot must belong to the requester's project, unless the requester may act `everywhere`.
    Raise `SnapshotNotFound`, `InvalidState`, `ServiceNotFound` or `ServiceDown`.
    """
    return app.run(lambda tx: request(tx, snapshot_id, requester, everywhere))


def request(tx: Transaction, snapshot_id: str, requester: Requester, everywhere: bool) -> Snapshot:
    """Like `unmanage`, in a transaction."""
    snapshot = visible(records.lock_many(tx.conn, Snapshot, [snapshot_id]), requester, everywhere)
    if snapshot is None:
        raise errors.SnapshotNotFound(snapshot_id)
    lost = snapshot.id in ownership.lost(tx.conn, [snapshot])
    change = lifecycle.unmanage(snapshot, requester, tx.now, lost)
    if removals.needs_no_server(change):
        for each in removals.unmanage_unbound(change, tx.now):
            tx.write_changes([each], locked=True)
            change = each
    else:
        servers.require(tx, snapshot.location.server)
        tx.write_changes([change], locked=True)
        tx.post([outbox.cast(change.after)])
    crash.at(Point.REQUEST_UNCOMMITTED)
    return change.after
