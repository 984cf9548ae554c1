"""Lists of what a backend holds, with the records that own the objects."""

from dataclasses import replace

from sqlalchemy import Connection

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, BackendVolume
from snapmanage.core.lists import filters, manageable
from snapmanage.core.lists.inventory import Inventory
from snapmanage.core.origins.protection import NO_ORIGINS, BackendOrigins
from snapmanage.core.records import Volume
from snapmanage.manage.application import Application
from snapmanage.store import ownership, records


def list_snapshots(
    app: Application,
    server: str,
    inventory: Inventory[BackendSnapshot],
    page: filters.Page,
    storage: str | None = None,
    origins: BackendOrigins = NO_ORIGINS,
) -> list[manageable.Assessment]:
    """Return a page of a backend's snapshots, and mark those that any server of the storage manages already.

    Raise `InvalidRequest` if the marker's entry is missing, and `VolumeNotFound` for an unknown `volume_id`.
    """
    if page.filters.volume_id is not None:
        with app.db.read() as conn:
            page = _with_volume(conn, server, page, page.filters.volume_id)
    by_safety = page.filters.safe_to_manage is not None
    candidates = inventory.candidates(page, origins)
    # Filters of a large backend take seconds, so they hold no connection to the database.
    held = list(candidates if by_safety else filters.on_page(candidates, page))
    with app.db.read() as conn:
        owned = (ownership.owned if by_safety else ownership.owned_among)(conn, server, held, storage)
    if by_safety:
        return manageable.page_by_safety(held, owned, page, origins)
    return manageable.assess(held, owned, origins)


def list_volumes(
    app: Application,
    server: str,
    inventory: Inventory[BackendVolume],
    page: filters.Page,
    storage: str | None = None,
) -> list[manageable.Assessment]:
    """Return a page of a backend's volumes, and mark those that any server of the storage has registered.

    Raise `InvalidRequest` if the marker's entry is missing.
    """
    by_safety = page.filters.safe_to_manage is not None
    candidates = inventory.candidates(page)
    held = list(candidates if by_safety else filters.on_page(candidates, page))
    with app.db.read() as conn:
        registered = ownership.registered_among(conn, server, held, storage)
    return manageable.page_by_safety(held, registered, page) if by_safety else manageable.assess(held, registered)


def _with_volume(conn: Connection, server: str, page: filters.Page, volume_id: str) -> filters.Page:
    """Return the query, which is restricted to one volume, with the volume's record."""
    volume = records.get(conn, Volume, volume_id)
    if volume is None or volume.location.server != server:
        raise errors.VolumeNotFound(volume_id)
    return replace(page, filters=replace(page.filters, volume=volume))
