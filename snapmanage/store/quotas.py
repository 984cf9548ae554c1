"""The limits of projects that differ from the defaults, and the usage of projects."""

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, Select, func, literal_column, or_, select, update

from snapmanage.core.quotas import KINDS, ProjectQuota, Usage
from snapmanage.core.records import Operation, Status
from snapmanage.store.engine import locks
from snapmanage.store.mapping.tables import quotas, snapshots, volumes


def get(conn: Connection, project_id: str) -> ProjectQuota:
    row = conn.execute(select(quotas).where(quotas.c.project_id == project_id)).one_or_none()
    return ProjectQuota(project_id) if row is None else ProjectQuota(**row._mapping)


class NoQueue(Exception):
    """Projects have no rows to wait for yet: `open_queue` makes them, each in a transaction of its own."""

    def __init__(self, project_ids: Collection[str]) -> None:
        super().__init__(f"no rows of the projects {', '.join(project_ids)}")
        self.project_ids = project_ids


def queue(conn: Connection, project_ids: Collection[str]) -> dict[str, ProjectQuota]:
    """Return the limits of those projects that have a row, and lock the rows.

    Concurrent requests of a project count their usage one after the other. Every transaction locks in the order of the
    projects, and before it locks records, so that two of them don't deadlock.
    """
    query = select(quotas).where(quotas.c.project_id.in_(project_ids)).order_by(quotas.c.project_id)
    return {row.project_id: ProjectQuota(**row._mapping) for row in conn.execute(query.with_for_update())}


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
    differs = or_(*(quotas.c[kind].is_not(None) for kind in KINDS))
    return [
        ProjectQuota(**row._mapping)
        for row in conn.execute(select(quotas).where(differs).order_by(quotas.c.project_id))
    ]


def usage_of_snapshots(conn: Connection, project_ids: Collection[str]) -> dict[str, Usage]:
    """Return the number and the size of the snapshots that projects own: managed, or under way.

    Each project has a statement of its own: MariaDB writes all index entries into a temporary table for a GROUP BY.
    """
    owned = or_(snapshots.c.reference_key.is_not(None), snapshots.c.identity_key.is_not(None))
    query = select(func.count(), func.coalesce(func.sum(snapshots.c.size_gb), 0)).where(owned)
    counted = {each: conn.execute(query.where(snapshots.c.project_id == each)).one() for each in project_ids}
    return {project_id: Usage(int(count), int(gigabytes)) for project_id, (count, gigabytes) in counted.items()}


def usage_of_volumes(conn: Connection, project_id: str) -> Usage:
    """Return the number of a project's volumes that clients have registered, or have requested to register."""
    owned = or_(volumes.c.reference_key.is_not(None), volumes.c.identity_key.is_not(None))
    query = select(func.count()).where(volumes.c.project_id == project_id, owned)
    return Usage(volumes=int(conn.execute(query).scalar_one()))


def usage_of_failed_records(conn: Connection, project_id: str) -> Usage:
    """Return the number of a project's snapshots and volumes that could not be managed."""
    return Usage(
        failed_records=sum(int(conn.execute(each).scalar_one()) for each in counts_of_failed_records(project_id))
    )


def usage(conn: Connection, project_id: str) -> Usage:
    """Return the whole usage of a project."""
    of_snapshots = usage_of_snapshots(conn, [project_id])[project_id]
    return of_snapshots.plus(usage_of_volumes(conn, project_id)).plus(usage_of_failed_records(conn, project_id))


def counts_of_failed_records(project_id: Any) -> list[Select[Any]]:
    """Return a query for each kind of record; PostgreSQL uses their partial index only for a literal status."""
    return [
        select(func.count()).where(
            table.c.project_id == project_id,
            table.c.status == literal_column(f"'{Status.ERROR.value}'"),
            table.c.operation == Operation.MANAGE.value,
        )
        for table in (snapshots, volumes)
    ]
