"""The requests of clients: manage a snapshot, register a volume, unmanage a snapshot, list what a backend holds."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from sqlalchemy import Connection

from snapmanage import crash, errors
from snapmanage.core import idempotency, lifecycle, outbox, removals
from snapmanage.core import services as service_rules
from snapmanage.core.backend import BackendSnapshot, BackendVolume
from snapmanage.core.idempotency import IdempotencyKey, KeyUse
from snapmanage.core.lists import manageable
from snapmanage.core.lists.inventory import Inventory
from snapmanage.core.records import Record, Requester, Snapshot, Status, Volume
from snapmanage.core.values.ids import ids_in
from snapmanage.crash import Point
from snapmanage.manage import owners, quotas
from snapmanage.manage import services as servers
from snapmanage.manage.application import Application
from snapmanage.manage.transaction import Transaction
from snapmanage.store import idempotency as stored_keys
from snapmanage.store import ownership, records, services
from snapmanage.store.records import VolumeForRequest

R = TypeVar("R", bound=Record)

# Each request deletes up to this many expired keys; more than one, so that the table shrinks.
EXPIRED_KEYS_PER_REQUEST = 10


def request_snapshot(
    app: Application, snapshot: Snapshot, everywhere: bool = False, key: IdempotencyKey | None = None
) -> Snapshot:
    """Write a snapshot to be managed, with the host of its volume, and the cast to its server.

    The volume must belong to the requester's project, unless the requester may act `everywhere`. If the same request
    was sent under the idempotency key before, return that request's snapshot as it is now, and write nothing.
    Raise `KeyReused`, `VolumeNotFound`, `InvalidState`, `ServiceNotFound`, `ServiceDown`, `QuotaExceeded` or
    `AlreadyManaged`.
    """

    def work(tx: Transaction) -> Snapshot:
        if key and (earlier := _earlier_record(tx, snapshot, key)):
            return earlier
        volume = _usable_volume(tx, snapshot, everywhere)
        service_rules.require_up(volume.service, volume.location.server, tx.now, tx.rules.service_down)
        quotas.check_snapshot(tx, snapshot, volume)
        requested = replace(snapshot, location=volume.location, size_gb=volume.size_gb, created_at=tx.now)
        refuse_owned(tx, requested, volume)
        return _insert(tx, lifecycle.request(requested))

    with owners.named(app):
        return quotas.run_queued(app, work)


def register_volume(app: Application, volume: Volume, key: IdempotencyKey | None = None) -> Volume:
    """Write a volume to be registered, and the cast to its server; `key` is as for `request_snapshot`.

    Raise `KeyReused`, `ServiceNotFound`, `ServiceDown`, `QuotaExceeded` or `AlreadyManaged`.
    """

    def work(tx: Transaction) -> Volume:
        if key and (earlier := _earlier_record(tx, volume, key)):
            return earlier
        require_service(tx, volume.location.server)
        quotas.check_volume(tx, volume.requester.project_id)
        return _insert(tx, lifecycle.request(replace(volume, created_at=tx.now)))

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
) -> list[manageable.Manageable]:
    """Return a page of a backend's snapshots, and mark those that any server of the storage manages already.

    Raise `InvalidRequest` if the marker's entry is missing, and `VolumeNotFound` for an unknown `volume_id`.
    """
    with app.db.read() as conn:
        page = _with_volume(conn, server, page)
        candidates = inventory.candidates(page)
        if page.filters.safe_to_manage is None:
            shown = list(manageable.on_page(candidates, page))
            return manageable.entries(shown, ownership.owned_among(conn, server, shown, storage))
        held = list(candidates)
        return manageable.page_by_safety(held, ownership.owned(conn, server, held, storage), page)


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


def _earlier_record(tx: Transaction, record: R, key: IdempotencyKey) -> R | None:
    """Return the record of an earlier request under this key, perhaps a tombstone; if there is none, store the key.

    This comes first in the transaction: of two requests at the same time, the second waits for the first and finds it.
    """
    use = KeyUse(key.key_digest, key.request_digest, record.id, tx.now)
    held = stored_keys.hold(tx.conn, use)
    if idempotency.repeats(use, held, tx.rules.idempotency_key_ttl):
        made = records.get(tx.conn, type(record), held.record_id, deleted=True)
        if made is None:
            raise errors.NotFound(
                f"The record {held.record_id} of this Idempotency-Key no longer exists: use a new key."
            )
        return made
    if held != use:
        stored_keys.replace(tx.conn, use)
    stored_keys.forget(tx.conn, tx.now - tx.rules.idempotency_key_ttl, EXPIRED_KEYS_PER_REQUEST)
    return None


def _insert(tx: Transaction, record: R) -> R:
    records.insert(tx.conn, record)
    tx.post([outbox.cast(record)])
    crash.at(Point.REQUEST_UNCOMMITTED)
    return record


def _usable_volume(tx: Transaction, snapshot: Snapshot, everywhere: bool) -> VolumeForRequest:
    """Return the volume of a snapshot; raise `VolumeNotFound` or `InvalidState`."""
    project_id = snapshot.requester.project_id
    volume = records.volume_for_request(tx.conn, snapshot.volume_id, project_id)
    if volume is None or not (everywhere or volume.project_id == project_id):
        raise errors.VolumeNotFound(snapshot.volume_id)
    if volume.status is not Status.AVAILABLE:
        raise errors.InvalidState(
            f"Volume {snapshot.volume_id} is {volume.status.value}; its snapshots can be managed when it is available."
        )
    return volume


def refuse_owned(tx: Transaction, snapshot: Snapshot, volume: VolumeForRequest | None) -> None:
    """Raise `AlreadyManaged` if another record is known to own the object of the reference.

    The object's name holds the id of a live record, or another server of the storage manages this reference. `volume`
    is None if an upstream API keeps it, and snapmanage has no record of it.
    """
    owner = None
    names = [name for name in snapshot.reference.value.values() if isinstance(name, str)]
    if named := {found for name in names for found in ids_in(name)} - {snapshot.id}:
        owner = min(ownership.live(tx.conn, named), default=None)
    if owner is None and volume and volume.shared and volume.service:
        owner = ownership.owner_elsewhere(tx.conn, snapshot, services.sharing(tx.conn, volume.service))
    if owner:
        found = records.get(tx.conn, Snapshot, owner)
        raise errors.AlreadyManaged(
            f"the object that {snapshot.reference.text} names is already managed as snapshot {owner}; "
            "unmanage that one first",
            owner_id=owner,
            project_id=found.requester.project_id if found else None,
        )


def require_service(tx: Transaction, server: str) -> None:
    """Raise `ServiceNotFound` or `ServiceDown` unless a server can carry out an operation."""
    servers.require_up(tx.conn, server, tx.now, tx.rules.service_down)
