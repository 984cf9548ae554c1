"""Unmanage volumes, in one transaction and without their servers."""

from snapmanage import crash, errors
from snapmanage.core import removals
from snapmanage.core.outbox import method_of
from snapmanage.core.records import Requester, Volume
from snapmanage.crash import Point
from snapmanage.manage.application import Application
from snapmanage.manage.transaction import Transaction
from snapmanage.manage.visibility import visible
from snapmanage.store import outbox, records


def unmanage_volume(app: Application, volume_id: str, requester: Requester, everywhere: bool = False) -> Volume:
    """Unmanage a volume without snapshots, of any status; return its tombstone.

    The volume must belong to the requester's project, unless the requester may act `everywhere`.
    Raise `VolumeNotFound`, or `InvalidState` if the volume has snapshots.
    """

    def work(tx: Transaction) -> Volume:
        # Requests and casts for a new snapshot hold their volume until they are committed.
        volume = visible(records.lock_many(tx.conn, Volume, [volume_id]), requester, everywhere)
        if volume is None:
            raise errors.VolumeNotFound(volume_id)
        removed = remove(tx, volume, requester, None if everywhere else requester.project_id)
        crash.at(Point.REMOVE_UNCOMMITTED)
        return removed

    return app.run(work)


def remove(tx: Transaction, volume: Volume, requester: Requester, visible_project: str | None = None) -> Volume:
    """Write the tombstone of a volume that this transaction has locked, and delete its cast.

    Raise `InvalidState` if the volume has snapshots; the text has ids of `visible_project`, or of every project.
    """
    if snapshots := records.count_of_volume(tx.conn, volume.id):
        named = records.oldest_of_volume(tx.conn, volume.id, visible_project, removals.MOST_NAMED)
        removals.refuse_parent(volume.id, snapshots, named)
    change = removals.unmanage_volume(volume, requester, tx.now)
    tx.write_changes([change], locked=True)
    outbox.forget_casts(tx.conn, [volume.id], method_of(volume))
    return change.after
