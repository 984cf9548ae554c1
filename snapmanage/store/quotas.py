"""The limits of projects that differ from the defaults."""

from collections.abc import Mapping

from sqlalchemy import Connection, or_, select, update

from snapmanage.core.quotas import ProjectQuota
from snapmanage.store.engine import locks
from snapmanage.store.mapping.tables import quotas


def get(conn: Connection, project_id: str) -> ProjectQuota:
    row = conn.execute(select(quotas).where(quotas.c.project_id == project_id)).one_or_none()
    return ProjectQuota(project_id) if row is None else ProjectQuota(**row._mapping)


class NoQueue(Exception):
    """The project has no row to wait for yet: `open_queue` makes it, in a transaction of its own."""


def queue(conn: Connection, project_id: str) -> ProjectQuota:
    """Like `get`, and lock the row: concurrent requests of a project count their usage one after the other."""
    row = conn.execute(select(quotas).where(quotas.c.project_id == project_id).with_for_update()).one_or_none()
    if row is None:
        raise NoQueue(project_id)
    return ProjectQuota(**row._mapping)


def open_queue(conn: Connection, project_id: str) -> None:
    """Make the row that the requests of a project wait for.

    A request doesn't make it itself: on MariaDB, transactions that wait for a new row deadlock if it is rolled back.
    """
    locks.lock(conn, quotas, dict(vars(ProjectQuota(project_id))))


def change(conn: Connection, project_id: str, limits: Mapping[str, int | None]) -> None:
    """Write limits of a project, by column; its other limits stay."""
    open_queue(conn, project_id)
    conn.execute(update(quotas).where(quotas.c.project_id == project_id).values(dict(limits)))


def all_of(conn: Connection) -> list[ProjectQuota]:
    """Return the limits of each project that has its own."""
    differs = or_(quotas.c.snapshots.is_not(None), quotas.c.gigabytes.is_not(None))
    return [
        ProjectQuota(**row._mapping)
        for row in conn.execute(select(quotas).where(differs).order_by(quotas.c.project_id))
    ]
