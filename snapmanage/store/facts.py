"""What decides on a client's request, read at once: whoever asks waits for each statement."""

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, exists, select

from snapmanage.core.location import Location
from snapmanage.core.records import Status
from snapmanage.core.services import Service
from snapmanage.store.tables import services, volumes

_others = services.alias("others")
_OF_VOLUME = (
    select(
        volumes.c.project_id,
        volumes.c.host,
        volumes.c.server,
        volumes.c.status,
        volumes.c.size_gb,
        services.c.driver,
        services.c.heartbeat_at,
        services.c.disabled_reason,
        services.c.storage,
        exists().where(_others.c.storage == services.c.storage, _others.c.server != services.c.server).label("shared"),
    )
    .select_from(volumes)
    .outerjoin(services, services.c.server == volumes.c.server)
    .where(volumes.c.id == bindparam("volume_id"), volumes.c.deleted_at.is_(None))
)


@dataclass(frozen=True)
class VolumeForRequest:
    """A volume as far as its snapshots depend on it, with its server's heartbeat if there is one.

    `shared` says that other servers serve the same storage.
    """

    project_id: str
    location: Location
    server: str
    status: Status
    size_gb: int | None
    service: Service | None
    shared: bool = False


def of_volume(conn: Connection, volume_id: str) -> VolumeForRequest | None:
    """What counts for a snapshot of that volume; None when there is no such volume."""
    row = conn.execute(_OF_VOLUME, {"volume_id": volume_id}).one_or_none()
    if row is None:
        return None
    beats = row.heartbeat_at is not None
    beat = (row.server, row.driver, row.heartbeat_at, row.disabled_reason, row.storage)
    service = Service(*beat) if beats else None
    return VolumeForRequest(
        row.project_id, Location.parse(row.host), row.server, Status(row.status), row.size_gb, service, bool(row.shared)
    )
