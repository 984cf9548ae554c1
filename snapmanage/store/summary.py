"""The number, the size and the metadata of the volumes of a project, or of all projects."""

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, Text, func, select, type_coerce

from snapmanage.store.mapping.tables import volumes


def totals(conn: Connection, project_id: str | None) -> tuple[int, int, int]:
    """Return the number of volumes, their gigabytes, and the characters of all their metadata as JSON."""
    length = func.length(type_coerce(volumes.c.metadata, Text))
    sums = [func.coalesce(func.sum(each), 0) for each in (volumes.c.size_gb, length)]
    count, gigabytes, characters = conn.execute(select(func.count(), *sums).where(*_conditions(project_id))).one()
    return int(count), int(gigabytes), int(characters)


def metadata(conn: Connection, project_id: str | None) -> Sequence[Mapping[str, str]]:
    """Return the metadata of the volumes that have any, in the order of their ids."""
    some = type_coerce(volumes.c.metadata, Text) != "{}"
    query = select(volumes.c.metadata).where(*_conditions(project_id), some).order_by(volumes.c.id)
    return conn.execute(query).scalars().all()


def _conditions(project_id: str | None) -> list[ColumnElement[bool]]:
    live: list[ColumnElement[bool]] = [volumes.c.deleted_at.is_(None)]
    return live if project_id is None else [*live, volumes.c.project_id == project_id]
