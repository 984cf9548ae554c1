"""The requests of clients: manage a snapshot, register a volume."""

from contextlib import suppress
from dataclasses import replace

from snapmanage import crash, errors
from snapmanage.core import lifecycle, outbox
from snapmanage.core.idempotency import IdempotencyKey
from snapmanage.core.records import Snapshot, Volume
from snapmanage.crash import Point
from snapmanage.manage import owners, quotas, snapshot_requests
from snapmanage.manage import services as servers
from snapmanage.manage.application import Application
from snapmanage.manage.keys import Keys, record_gone
from snapmanage.manage.snapshot_requests import SnapshotRequest
from snapmanage.manage.transaction import Transaction
from snapmanage.store import records


def request_snapshot(
    app: Application,
    snapshot: Snapshot,
    everywhere: bool = False,
    key: IdempotencyKey | None = None,
    id_chosen: bool = False,
) -> Snapshot:
    """Like `snapshot_requests.request_snapshots`, for one snapshot; raise the error if the request is refused."""
    request = SnapshotRequest(snapshot, key, id_chosen)
    [outcome] = snapshot_requests.request_snapshots(app, [request], everywhere)
    if isinstance(outcome, errors.SnapmanageError):
        raise outcome
    return outcome.snapshot


def register_volume(
    app: Application, volume: Volume, key: IdempotencyKey | None = None, id_chosen: bool = False
) -> Volume:
    """Write a volume to be registered, and the cast to its server; `key` is as for `request_snapshots`.

    Raise `KeyReused`, `IdInUse`, `ServiceNotFound`, `ServiceDown`, `QuotaExceeded` or `AlreadyManaged`.
    """

    def work(tx: Transaction) -> Volume:
        keys = Keys(tx, [(volume, key)] if key else [], id_chosen)
        if key and (earlier_id := keys.earlier(volume, key)):
            return _earlier_volume(tx, earlier_id)
        if id_chosen and records.ids_in_use(tx.conn, [volume.id]):
            raise errors.IdInUse(volume.id)
        servers.require(tx, volume.location.server)
        quotas.check_volume(tx, volume.requester.project_id)
        requested = lifecycle.request(replace(volume, created_at=tx.now))
        records.insert(tx.conn, requested)
        if key:
            keys.claim(volume, key)
        keys.write()
        tx.post([outbox.cast(requested)])
        crash.at(Point.REQUEST_UNCOMMITTED)
        return requested

    if id_chosen:
        with suppress(errors.AlreadyManaged):  # if another request has just taken the id, the second try finds it
            return quotas.run_queued(app, work)
    with owners.named(app):
        return quotas.run_queued(app, work)


def _earlier_volume(tx: Transaction, volume_id: str) -> Volume:
    """Return the volume of an earlier request, perhaps a tombstone."""
    if volume := records.get(tx.conn, Volume, volume_id, deleted=True):
        return volume
    raise record_gone(volume_id)
