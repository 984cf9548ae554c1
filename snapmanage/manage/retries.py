"""Retry operations that have ended in `error`: a failed manage is checked like a new request."""

from typing import TypeVar

from snapmanage import crash, errors
from snapmanage.core import outbox, retries
from snapmanage.core.change import Change
from snapmanage.core.records import Operation, Record, Requester, Snapshot, Status, Volume, identity_key
from snapmanage.crash import Point
from snapmanage.manage import owners, quotas, unmanaging
from snapmanage.manage import services as servers
from snapmanage.manage.application import Application
from snapmanage.manage.transaction import Transaction
from snapmanage.manage.visibility import visible
from snapmanage.store import ownership, records

R = TypeVar("R", bound=Record)


def retry_snapshot(app: Application, snapshot_id: str, requester: Requester, everywhere: bool = False) -> Snapshot:
    """Write the request to carry out a snapshot's failed operation again, and the cast; return the snapshot.

    The snapshot must belong to the requester's project, unless the requester may act `everywhere`.
    Raise `SnapshotNotFound`, `InvalidState`, `ServiceNotFound`, `ServiceDown`, `QuotaExceeded` or `AlreadyManaged`.
    """

    def work(tx: Transaction) -> Snapshot:
        snapshot = visible(records.get_many(tx.conn, Snapshot, [snapshot_id]), requester, everywhere)
        if snapshot is None:
            raise errors.SnapshotNotFound(snapshot_id)
        retries.require_failed(snapshot)
        if snapshot.operation is Operation.UNMANAGE:
            return unmanaging.request(tx, snapshot_id, requester, everywhere)
        # Volume and quota are locked before the snapshot, as everywhere.
        _check_like_new(tx, snapshot)
        locked = visible(records.lock_many(tx.conn, Snapshot, [snapshot_id]), requester, everywhere)
        if locked is None:
            raise errors.SnapshotNotFound(snapshot_id)
        _refuse_lost(tx, locked)
        return _write(tx, retries.retry_manage(locked, requester, tx.now))

    with owners.named(app):
        return quotas.run_queued(app, work)


def retry_volume(app: Application, volume_id: str, requester: Requester, everywhere: bool = False) -> Volume:
    """Write the request to register a volume again whose registration has failed, and the cast; return the volume.

    The volume must belong to the requester's project, unless the requester may act `everywhere`.
    Raise `VolumeNotFound`, `InvalidState`, `ServiceNotFound`, `ServiceDown`, `QuotaExceeded` or `AlreadyManaged`.
    """

    def work(tx: Transaction) -> Volume:
        volume = visible(records.lock_many(tx.conn, Volume, [volume_id]), requester, everywhere)
        if volume is None:
            raise errors.VolumeNotFound(volume_id)
        change = retries.retry_manage(volume, requester, tx.now)
        servers.require(tx, volume.location.server)
        quotas.check_retried_volume(tx, volume.requester.project_id)
        return _write(tx, change)

    with owners.named(app):
        return quotas.run_queued(app, work)


def _check_like_new(tx: Transaction, snapshot: Snapshot) -> None:
    """Check the volume, the server, the quota and the owner; an upstream API may keep the volume itself."""
    volume = records.volume_for_request(tx.conn, snapshot.volume_id, snapshot.requester.project_id)
    if volume and volume.status is not Status.AVAILABLE:
        raise errors.InvalidState(
            f"Volume {snapshot.volume_id} is {volume.status.value}; its snapshots can be retried when it is available."
        )
    servers.require(tx, snapshot.location.server)
    quotas.check_retried_snapshot(tx, snapshot)
    shared = [snapshot.volume_id] if volume and volume.shared else []
    owners.of_references(tx.conn, [snapshot], shared).refuse_owned(snapshot)


def _refuse_lost(tx: Transaction, snapshot: Snapshot) -> None:
    """Raise `AlreadyManaged` if the object that the snapshot was resolved to belongs to another snapshot now."""
    key = identity_key(snapshot)
    owner = ownership.owners(tx.conn, [key]).get(key, snapshot.id) if key else snapshot.id
    if owner != snapshot.id:
        found = records.get(tx.conn, Snapshot, owner)
        raise errors.AlreadyManaged(
            f"the object of snapshot {snapshot.id} is managed as snapshot {owner} now; unmanage that one first",
            owner_id=owner,
            project_id=found.requester.project_id if found else None,
        )


def _write(tx: Transaction, change: Change[R]) -> R:
    tx.write_changes([change], locked=True)
    tx.post([outbox.cast(change.after)])
    crash.at(Point.REQUEST_UNCOMMITTED)
    return change.after
