"""What clients ask for: request, register, unmanage, list."""

from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection

from snapmanage import crash, errors
from snapmanage.core import idempotency, lifecycle, manageable, outbox
from snapmanage.core import quotas as quota
from snapmanage.core import services as service
from snapmanage.core.idempotency import IdempotencyKey, KeyUse
from snapmanage.core.ids import ids_in_reference
from snapmanage.core.inventory import Inventory
from snapmanage.core.outbox import Message
from snapmanage.core.records import Record, Requester, Snapshot, Status, Volume
from snapmanage.crash import Point
from snapmanage.manage.application import Application, commit, post
from snapmanage.store import idempotency as keys
from snapmanage.store import ownership, quotas, records, services
from snapmanage.store.records import VolumeForRequest

R = TypeVar("R", bound=Record)

# Keys dropped by each that comes, when they are too old: more than one, so that they get fewer.
FORGOTTEN_AT_ONCE = 10


def request_snapshot(
    app: Application, snapshot: Snapshot, everywhere: bool = False, key: IdempotencyKey | None = None
) -> Snapshot:
    """Write a snapshot that shall be managed, and the cast for it; `snapshot.location` comes from its volume.

    The volume must be the requester's project's, unless the requester may act `everywhere`. Under a key that was
    used for the same request, the snapshot of that one is returned, as it is now, and nothing is written.
    `KeyReused`, `VolumeNotFound`, `InvalidState`, `ServiceNotFound`, `ServiceDown`, `QuotaExceeded`, `AlreadyManaged`.
    """

    def write(conn: Connection, now: datetime) -> tuple[Snapshot, list[Message]]:
        if (made := _made_before(app, conn, snapshot, key, now)) is not None:
            return made, []
        volume = _usable_volume(conn, snapshot, everywhere)
        service.require_up(volume.service, volume.server, now, app.rules.service_down)
        _check_quota(app, conn, snapshot.requester.project_id, volume.size_gb or 0)
        asked = replace(snapshot, location=volume.location, size_gb=volume.size_gb, created_at=now)
        _refuse_owned(conn, asked, volume)
        return _insert(app, conn, lifecycle.request(asked), now)

    try:
        return commit(app, write)
    except quotas.NoQueue:
        app.db.write(lambda conn, _: quotas.open_queue(conn, snapshot.requester.project_id))
        crash.at(Point.QUOTA_QUEUE_OPENED)
        return commit(app, write)


def register_volume(app: Application, volume: Volume, key: IdempotencyKey | None = None) -> Volume:
    """Write a volume that shall be known, and the cast for it; a key counts as for snapshots.

    `KeyReused`, `ServiceNotFound`, `ServiceDown`, `AlreadyManaged`.
    """

    def write(conn: Connection, now: datetime) -> tuple[Volume, list[Message]]:
        if (made := _made_before(app, conn, volume, key, now)) is not None:
            return made, []
        _require_service(app, conn, volume.server, now)
        return _insert(app, conn, lifecycle.request(replace(volume, created_at=now)), now)

    return commit(app, write)


def unmanage(app: Application, snapshot_id: str, requester: Requester, everywhere: bool = False) -> None:
    """Ask for a snapshot to be given back; `SnapshotNotFound`, `InvalidState`, `ServiceDown`.

    It must be the requester's project's, unless the requester may act `everywhere`.
    """

    def write(conn: Connection, now: datetime) -> tuple[None, list[Message]]:
        snapshot = next((s for s in records.lock_many(conn, Snapshot, [snapshot_id]) if s.deleted_at is None), None)
        if snapshot is None or not (everywhere or _same_project(snapshot, requester)):
            raise errors.SnapshotNotFound(snapshot_id)
        _require_service(app, conn, snapshot.server, now)
        lost = snapshot.id in ownership.lost(conn, [snapshot])
        change = lifecycle.unmanage(snapshot, requester, now, lost)
        records.write(conn, [change])
        owed = post(app, conn, [outbox.cast(change.after)], now)
        crash.at(Point.REQUEST_UNCOMMITTED)
        return None, owed

    return commit(app, write)


def list_manageable(
    app: Application, server: str, inventory: Inventory, wanted: manageable.Page, storage: str | None = None
) -> list[manageable.Manageable]:
    """The wanted page of what a backend holds, marking what is managed already, on its storage by any server.

    `InvalidRequest` when the marker's entry isn't there, `VolumeNotFound` for an unknown `volume_id`.
    """
    with app.db.read() as conn:
        wanted = _with_volume(conn, server, wanted)
        candidates = inventory.wanted(wanted)
        if wanted.filters.safe_to_manage is None:
            shown = list(manageable.cut(candidates, wanted))
            return manageable.entries(shown, ownership.owned_among(conn, server, shown, storage))
        held = list(candidates)
        return manageable.page_by_safety(held, ownership.owned(conn, server, held, storage), wanted)


def _with_volume(conn: Connection, server: str, wanted: manageable.Page) -> manageable.Page:
    """With the record of the volume whose snapshots are wanted, where only one's are."""
    volume_id = wanted.filters.volume_id
    if volume_id is None:
        return wanted
    volume = records.get(conn, Volume, volume_id)
    if volume is None or volume.server != server:
        raise errors.VolumeNotFound(volume_id)
    return replace(wanted, filters=replace(wanted.filters, volume=volume))


def _made_before(app: Application, conn: Connection, record: R, key: IdempotencyKey | None, now: datetime) -> R | None:
    """What an earlier request made under this key, a tombstone too; None lets it stand for `record` from now on.

    Asked before anything else, so that of two at the same time the second waits for the first, and finds it.
    """
    if key is None:
        return None
    asked = KeyUse(key.key_digest, key.request_digest, record.id, now)
    held = keys.hold(conn, asked)
    if idempotency.repeats(asked, held, app.rules.idempotency_key_ttl):
        return _made(conn, type(record), held.record_id)
    if held != asked:
        keys.replace(conn, asked)
    keys.forget(conn, now - app.rules.idempotency_key_ttl, FORGOTTEN_AT_ONCE)
    return None


def _made(conn: Connection, kind: type[R], record_id: str) -> R:
    made = records.get(conn, kind, record_id, deleted=True)
    if made is None:
        raise errors.NotFound(
            f"What was asked for under this Idempotency-Key, {record_id}, is not kept any more: use a new key."
        )
    return made


def _insert(app: Application, conn: Connection, record: R, now: datetime) -> tuple[R, list[Message]]:
    records.insert(conn, record)
    owed = post(app, conn, [outbox.cast(record)], now)
    crash.at(Point.REQUEST_UNCOMMITTED)
    return record, owed


def _usable_volume(conn: Connection, snapshot: Snapshot, everywhere: bool) -> VolumeForRequest:
    """The volume of a snapshot, with what else counts; `VolumeNotFound`, `InvalidState`."""
    project_id = snapshot.requester.project_id
    volume = records.volume_for_request(conn, snapshot.volume_id)
    if volume is None or not (everywhere or volume.project_id == project_id):
        raise errors.VolumeNotFound(snapshot.volume_id)
    if volume.status is not Status.AVAILABLE:
        raise errors.InvalidState(
            f"Volume {snapshot.volume_id} is {volume.status.value}; its snapshots can be managed when it is available."
        )
    return volume


def _refuse_owned(conn: Connection, snapshot: Snapshot, volume: VolumeForRequest) -> None:
    """Raise `AlreadyManaged` where the reference is known to mean an object that another record owns.

    Its name holds the id of a live record, or another server of the same storage manages it under this reference.
    """
    named = ownership.live(conn, ids_in_reference(snapshot.reference) - {snapshot.id})
    owner = min(named) if named else None
    if owner is None and volume.shared and volume.service:
        owner = ownership.owner_elsewhere(conn, snapshot, services.sharing(conn, volume.service))
    if owner:
        raise errors.AlreadyManaged(
            f"the object that {snapshot.reference.text} names is managed already, as snapshot {owner}; "
            "unmanage that one first"
        )


def _same_project(record: Record, requester: Requester) -> bool:
    return record.requester.project_id == requester.project_id


def _require_service(app: Application, conn: Connection, server: str, now: datetime) -> None:
    service.require_up(services.get(conn, server), server, now, app.rules.service_down)


def _check_quota(app: Application, conn: Connection, project_id: str, size_gb: int) -> None:
    if quota.bounded(quotas.get(conn, project_id).over(app.rules.quota)):
        # Whoever was before us in the queue may have changed the limit.
        limit = quotas.queue(conn, project_id).over(app.rules.quota)
        quota.check(records.usage(conn, project_id), limit, size_gb)
