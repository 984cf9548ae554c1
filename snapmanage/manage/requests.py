"""What clients ask for: request, register, unmanage, list."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection

from snapmanage import errors
from snapmanage.core import lifecycle, listing, messages, quota, service
from snapmanage.core.backend import BackendSnapshot
from snapmanage.core.messages import Message
from snapmanage.core.records import Record, Requester, Snapshot, Status, Volume
from snapmanage.manage.site import Site, commit, post
from snapmanage.store import records, services

R = TypeVar("R", bound=Record)


def request_snapshot(site: Site, snapshot: Snapshot, everywhere: bool = False) -> Snapshot:
    """Write a snapshot that shall be managed, and the cast for it; `snapshot.host` comes from its volume.

    The volume must be the requester's project's, unless the requester may act `everywhere`.
    `VolumeNotFound`, `InvalidState`, `ServiceNotFound`, `ServiceDown`, `QuotaExceeded`, `AlreadyManaged`.
    """

    def write(conn: Connection, now: datetime) -> tuple[Snapshot, list[Message]]:
        volume = _usable_volume(conn, snapshot, everywhere)
        _require_service(site, conn, volume.server, now)
        _check_quota(site, conn, snapshot.requester.project_id, volume.size_gb or 0)
        asked = replace(snapshot, host=volume.host, size_gb=volume.size_gb, created_at=now)
        return _insert(site, conn, lifecycle.request(asked), now)

    return commit(site, write)


def register_volume(site: Site, volume: Volume) -> Volume:
    """Write a volume that shall be known, and the cast for it; `ServiceNotFound`, `ServiceDown`, `AlreadyManaged`."""

    def write(conn: Connection, now: datetime) -> tuple[Volume, list[Message]]:
        _require_service(site, conn, volume.server, now)
        return _insert(site, conn, lifecycle.request(replace(volume, created_at=now)), now)

    return commit(site, write)


def unmanage(site: Site, snapshot_id: str, requester: Requester, everywhere: bool = False) -> None:
    """Ask for a snapshot to be given back; `SnapshotNotFound`, `InvalidState`, `ServiceDown`.

    It must be the requester's project's, unless the requester may act `everywhere`.
    """

    def write(conn: Connection, now: datetime) -> tuple[None, list[Message]]:
        snapshot = next((s for s in records.lock_many(conn, Snapshot, [snapshot_id]) if s.deleted_at is None), None)
        if snapshot is None or not (everywhere or _same_project(snapshot, requester)):
            raise errors.SnapshotNotFound(snapshot_id)
        _require_service(site, conn, snapshot.server, now)
        lost = snapshot.id in records.lost(conn, [snapshot])
        change = lifecycle.unmanage(snapshot, requester, now, lost)
        records.update(conn, [change])
        return None, post(site, conn, [messages.cast(change.after)], now)

    return commit(site, write)


def list_manageable(
    site: Site, server: str, found: Sequence[BackendSnapshot], wanted: listing.Page
) -> list[listing.Manageable]:
    """The wanted page of what a backend holds, marking what is managed already."""
    with site.db.read() as conn:
        owned = records.owned(conn, server)
    return listing.page(listing.manageable(found, owned), wanted)


def _insert(site: Site, conn: Connection, record: R, now: datetime) -> tuple[R, list[Message]]:
    records.insert(conn, record)
    return record, post(site, conn, [messages.cast(record)], now)


def _usable_volume(conn: Connection, snapshot: Snapshot, everywhere: bool) -> Volume:
    volume = records.get(conn, Volume, snapshot.volume_id)
    if volume is None or not (everywhere or _same_project(volume, snapshot.requester)):
        raise errors.VolumeNotFound(snapshot.volume_id)
    if volume.status is not Status.AVAILABLE:
        raise errors.InvalidState(
            f"Volume {volume.id} is {volume.status.value}; its snapshots can be managed when it is available."
        )
    return volume


def _same_project(record: Record, requester: Requester) -> bool:
    return record.requester.project_id == requester.project_id


def _require_service(site: Site, conn: Connection, server: str, now: datetime) -> None:
    service.require_up(services.get(conn, server), server, now, site.rules.service_down)


def _check_quota(site: Site, conn: Connection, project_id: str, size_gb: int) -> None:
    limit = services.limits(conn, project_id, site.rules.quota)
    if quota.bounded(limit):
        services.queue_for_quota(conn, project_id)
        quota.check(records.usage(conn, project_id), limit, size_gb)
