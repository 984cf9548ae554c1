"""The requests of clients: manage a snapshot, register a volume, unmanage a snapshot, list what a backend holds."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from sqlalchemy import Connection

from snapmanage import crash, errors
from snapmanage.core import lifecycle, outbox, removals
from snapmanage.core.backend import BackendSnapshot, BackendVolume
from snapmanage.core.idempotency import IdempotencyKey
from snapmanage.core.lists import manageable
from snapmanage.core.lists.inventory import Inventory
from snapmanage.core.origins.protection import NO_ORIGINS, BackendOrigins
from snapmanage.core.records import Record, Requester, Snapshot, Volume
from snapmanage.crash import Point
from snapmanage.manage import owners, quotas, snapshot_requests
from snapmanage.manage import services as servers
from snapmanage.manage.application import Application
from snapmanage.manage.keys import Keys, record_gone
from snapmanage.manage.snapshot_requests import SnapshotRequest
from snapmanage.manage.transaction import Transaction
from snapmanage.store import ownership, records

R = TypeVar("R", bound=Record)


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
        require_service(tx, volume.location.server)
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


def unmanage(app: Application, snapshot_id: str, requester: Requester, everywhere: bool = False) -> Snapshot:
    """Write the request to unmanage a snapshot, and the cast to its server; return the snapshot.

    A snapshot without an object to rename is unmanaged at once, even if its server is down or gone.
    The snapshot must belong to the requester's project, unless the requester may act `everywhere`.
    Raise `SnapshotNotFound`, `InvalidState`, `ServiceNotFound` or `ServiceDown`.
    """
    return app.run(lambda tx: request_unmanage(tx, snapshot_id, requester, everywhere))


def request_unmanage(tx: Transaction, snapshot_id: str, requester: Requester, everywhere: bool) -> Snapshot:
    """Do `unmanage` in a transaction."""
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
        require_service(tx, snapshot.location.server)
        tx.write_changes([change], locked=True)
        tx.post([outbox.cast(change.after)])
    crash.at(Point.REQUEST_UNCOMMITTED)
    return change.after


def visible(found: Sequence[R], requester: Requester, everywhere: bool) -> R | None:
    """Return the record, unless there is none, it is a tombstone, or the requester may not change it."""
    own = [each for each in found if everywhere or each.requester.project_id == requester.project_id]
    return next((each for each in own if each.deleted_at is None), None)


def list_manageable(
    app: Application,
    server: str,
    inventory: Inventory[BackendSnapshot],
    page: manageable.Page,
    storage: str | None = None,
    origins: BackendOrigins = NO_ORIGINS,
) -> list[manageable.Manageable]:
    """Return a page of a backend's snapshots, and mark those that any server of the storage manages already.

    Raise `InvalidRequest` if the marker's entry is missing, and `VolumeNotFound` for an unknown `volume_id`.
    """
    with app.db.read() as conn:
        page = _with_volume(conn, server, page)
        candidates = inventory.candidates(page, origins)
        if page.filters.safe_to_manage is None:
            shown = list(manageable.on_page(candidates, page))
            return manageable.entries(shown, ownership.owned_among(conn, server, shown, storage), origins)
        held = list(candidates)
        return manageable.page_by_safety(held, ownership.owned(conn, server, held, storage), page, origins)


def list_manageable_volumes(
    app: Application,
    server: str,
    inventory: Inventory[BackendVolume],
    page: manageable.Page,
    storage: str | None = None,
) -> list[manageable.Manageable]:
    """Return a page of a backend's volumes, and mark those that any server of the storage has registered.

    Raise `InvalidRequest` if the marker's entry is missing.
    """
    by_safety = page.filters.safe_to_manage is not None
    candidates = inventory.candidates(page)
    held = list(candidates if by_safety else manageable.on_page(candidates, page))
    with app.db.read() as conn:
        registered = ownership.registered_among(conn, server, held, storage)
    return manageable.page_by_safety(held, registered, page) if by_safety else manageable.entries(held, registered)


def _with_volume(conn: Connection, server: str, page: manageable.Page) -> manageable.Page:
    """Return the query with the record of its volume, if it is restricted to one volume."""
    volume_id = page.filters.volume_id
    if volume_id is None:
        return page
    volume = records.get(conn, Volume, volume_id)
    if volume is None or volume.location.server != server:
        raise errors.VolumeNotFound(volume_id)
    return replace(page, filters=replace(page.filters, volume=volume))


def _earlier_volume(tx: Transaction, volume_id: str) -> Volume:
    """Return the volume of an earlier request, perhaps a tombstone."""
    if volume := records.get(tx.conn, Volume, volume_id, deleted=True):
        return volume
    raise record_gone(volume_id)


def require_service(tx: Transaction, server: str) -> None:
    """Raise `ServiceNotFound` or `ServiceDown` unless a server can carry out an operation."""
    servers.require_up(tx.conn, server, tx.now, tx.rules.service_down)
