"""Volumes and snapshots in the database."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Select, Table, bindparam, exists, func, or_, select, union
from sqlalchemy.exc import IntegrityError

from snapmanage import errors
from snapmanage.core import edits
from snapmanage.core.change import Change
from snapmanage.core.lists.paging import ListQuery
from snapmanage.core.quotas import ProjectQuota
from snapmanage.core.records import Fence, Record, Snapshot, Status
from snapmanage.core.services import Service
from snapmanage.core.values.location import Location
from snapmanage.store import paging
from snapmanage.store.engine import batches
from snapmanage.store.mapping.rows import TABLES, location, to_columns, to_record
from snapmanage.store.mapping.tables import audit, audit_snapshots, quotas, services, snapshots, volumes
from snapmanage.store.quotas import counts_of_failed_records

R = TypeVar("R", bound=Record)


def insert(conn: Connection, *new: R) -> None:
    """Write new records of a kind; raise `AlreadyManaged` if a reference is owned already, or an id is in use."""
    # Several transactions insert in the same order, so that they rarely deadlock.
    rows = [to_columns(record) for record in sorted(new, key=lambda record: record.reference_key or "")]
    try:
        conn.execute(TABLES[type(new[0])].insert(), rows if len(rows) > 1 else rows[0])
    except IntegrityError as error:
        raise already_managed(new[0]) from error


def ids_in_use(conn: Connection, record_ids: Collection[str]) -> set[str]:
    """Return those of the ids that a record has or had: a volume or a snapshot, a tombstone, or a purged record."""
    columns = (snapshots.c.id, volumes.c.id, audit_snapshots.c.id, audit.c.snapshot_id)
    used = set[str]()
    for part in batches.filled_parts(sorted(record_ids)):
        used |= set(conn.execute(union(*(select(each).where(each.in_(part)) for each in columns))).scalars())
    return used


def missing(conn: Connection, records: Sequence[Record]) -> list[Record]:
    """Return the records whose ids are not in the database yet, each id once."""
    found: list[Record] = []
    for kind, table in TABLES.items():
        given = {record.id: record for record in reversed(records) if isinstance(record, kind)}
        known = set(conn.execute(select(table.c.id).where(table.c.id.in_(given))).scalars()) if given else set()
        found += [record for record_id, record in given.items() if record_id not in known]
    return found


def insert_many(conn: Connection, records: Sequence[Record]) -> None:
    """Write new records; none of them may own a reference."""
    for kind, table in TABLES.items():
        rows = [to_columns(record) for record in records if isinstance(record, kind)]
        if rows:
            conn.execute(table.insert(), rows)


def get(conn: Connection, kind: type[R], record_id: str, deleted: bool = False) -> R | None:
    """Return the record of an id; a tombstone only with `deleted`.

    MariaDB ignores blanks at the end of a text, but an id with such blanks is unknown.
    """
    found = [record for record in get_many(conn, kind, [record_id]) if record.id == record_id]
    return next((record for record in found if deleted or record.deleted_at is None), None)


def get_many(conn: Connection, kind: type[R], record_ids: Collection[str]) -> list[R]:
    """Return the records of these ids, with tombstones, in no order."""
    table = TABLES[kind]
    return [to_record(kind, row) for row in conn.execute(select(table).where(table.c.id.in_(record_ids)))]


def lock_many(conn: Connection, kind: type[R], record_ids: Collection[str]) -> list[R]:
    """Like `get_many`, and lock the rows until the transaction ends.

    Every transaction locks in the order of the ids, so that two of them don't deadlock.
    """
    table = TABLES[kind]
    query = select(table).where(table.c.id.in_(record_ids)).order_by(table.c.id).with_for_update()
    return [to_record(kind, row) for row in conn.execute(query)]


def hold_many(conn: Connection, kind: type[R], record_ids: Collection[str]) -> list[R]:
    """Like `lock_many`, with locks that other transactions can share.

    Until this transaction ends, none of the records becomes a tombstone. On PostgreSQL, workers may change them.
    """
    table = TABLES[kind]
    query = select(table).where(table.c.id.in_(record_ids)).order_by(table.c.id)
    return [to_record(kind, row) for row in conn.execute(query.with_for_update(read=True, key_share=True))]


def take_due(
    conn: Connection, kind: type[R], server: str, now: datetime, limit: int, projects_first: Sequence[str] = ()
) -> list[R]:
    """Lock and return up to `limit` records that a worker of `server` may claim, longest due first.

    Rows that other workers have locked are skipped. The `projects_first` get equal shares before all other projects.
    """
    table = TABLES[kind]
    due = (table.c.server == server) & (table.c.due_at <= now)
    query = select(table).where(due).order_by(table.c.due_at).with_for_update(skip_locked=True)
    share = max(1, limit // (len(projects_first) + 1))
    queries = [query.where(table.c.project_id == project).limit(share) for project in projects_first] + [
        query.limit(limit)
    ]
    found = {row.id: row for each in queries for row in conn.execute(each)}
    return [to_record(kind, row) for row in list(found.values())[:limit]]


def servers_with_due(conn: Connection, servers: Collection[str], now: datetime) -> set[str]:
    """Return those of the servers that have operations which a worker may claim; each must have sent a heartbeat."""
    found = set[str]()
    for part in batches.filled_parts(sorted(servers)):
        values = {"now": now, **batches.numbered(part)}
        found |= set(conn.execute(_any_server_with_due(len(part)), values).scalars())
    return found


@lru_cache(len(batches.VALUES_AT_ONCE))
def _any_server_with_due(count: int) -> Select[Any]:
    # A subquery reads one operation of a server, however many are due.
    due = [
        select(table.c.id)
        .where(table.c.server == services.c.server, table.c.due_at <= bindparam("now"))
        .limit(1)
        .scalar_subquery()
        .is_not(None)
        for table in TABLES.values()
    ]
    return select(services.c.server).where(batches.any_of(services.c.server, count), or_(*due))


def count_of_volume(conn: Connection, volume_id: str) -> int:
    """Return the number of a volume's snapshots without tombstones."""
    query = select(func.count()).where(snapshots.c.volume_id == volume_id, snapshots.c.deleted_at.is_(None))
    return int(conn.execute(query).scalar_one())


def oldest_of_volume(conn: Connection, volume_id: str, project_id: str | None, limit: int) -> list[str]:
    """Return the ids of a volume's oldest snapshots without tombstones, of a project, or of all projects for None."""
    query = select(snapshots.c.id).where(snapshots.c.volume_id == volume_id, snapshots.c.deleted_at.is_(None))
    if project_id is not None:
        query = query.where(snapshots.c.project_id == project_id)
    return list(conn.execute(query.order_by(snapshots.c.created_at, snapshots.c.id).limit(limit)).scalars())


def in_progress(conn: Connection, kind: type[R]) -> list[R]:
    """Return the records of all servers whose operations are under way, oldest first."""
    table = TABLES[kind]
    under_way = [status.value for status in Status if status.in_progress]
    # The ids come from an index; without one for this query, the large rows of all records would be read.
    query = select(table.c.id).where(table.c.status.in_(under_way))
    record_ids = conn.execute(query).scalars().all()
    found = [record for part in batches.filled_parts(record_ids) for record in get_many(conn, kind, set(part))]
    still = [record for record in found if record.status.in_progress]  # an operation may have ended since the query
    return sorted(still, key=lambda record: (record.created_at, record.id))


def resolved(conn: Connection, server: str) -> list[Snapshot]:
    """Return a server's snapshots that were ever resolved to an object, with tombstones."""
    resolved_here = (snapshots.c.server == server) & snapshots.c.backend_id.is_not(None)
    query = select(snapshots).where(resolved_here).order_by(snapshots.c.created_at, snapshots.c.id)
    return [to_record(Snapshot, row) for row in conn.execute(query)]


def update(conn: Connection, changes: Sequence[Change[R]], locked: bool = False) -> list[Change[R]]:
    """Write changes of volumes and snapshots; return the changes that were written.

    With `locked`, this transaction has locked the records, and every change is written. Otherwise a change is written
    only if its record has an unchanged fence, and it keeps the edits that the record has got meanwhile. Raise
    `AlreadyManaged` if a record would own an object that another record owns; the transaction must be rolled back then.
    """
    written: list[Change[R]] = []
    for kind, table in TABLES.items():
        current = [change for change in changes if isinstance(change.before, kind)]
        if current and not locked:
            current = _still_valid(conn, table, current)
        try:
            values = [(change.before.id, to_columns(change.after, change.before)) for change in current]
            batches.update(conn, table, values)
        except IntegrityError as error:
            raise already_managed(current[0].after) from error
        written += current
    return written


def _still_valid(conn: Connection, table: Table, changes: Sequence[Change[R]]) -> list[Change[R]]:
    """Lock the rows of changes; return the changes with an unchanged fence, on top of edits where these matter."""
    # An event announces the name and the metadata, and a change of metadata writes all pairs.
    rebased = any(change.event or change.after.metadata != change.before.metadata for change in changes)
    edited = (table.c.name, table.c.metadata) if rebased else ()
    query = select(table.c.id, table.c.status, table.c.claim_number, table.c.claimed_by, *edited)
    locking = query.where(table.c.id.in_([change.before.id for change in changes])).order_by(table.c.id)
    rows = {row.id: row for row in conn.execute(locking.with_for_update())}
    valid = [change for change in changes if _fence(rows.get(change.before.id)) == change.before.fence]
    if not rebased:
        return valid
    return [edits.rebase(change, *rows[change.before.id][4:]) for change in valid]


def _fence(row: Row[Any] | None) -> Fence | None:
    return None if row is None else (Status(row.status), row.claim_number, row.claimed_by)


def page_sizes(conn: Connection, kind: type[Record], query: ListQuery) -> Sequence[tuple[str, int]]:
    """Return the ids of the records on a page, each with the size of its texts; raise `InvalidRequest`."""
    return paging.sizes(conn, TABLES[kind], query)


def sizes(conn: Connection, kind: type[Record], record_ids: Collection[str]) -> dict[str, int]:
    """Return the sizes of the texts of records by their ids, tombstones included."""
    return paging.sizes_of(conn, TABLES[kind], record_ids)


def shown(conn: Connection, kind: type[R], record_ids: Sequence[str]) -> list[R]:
    """Return the records with these ids, in their order, except those that were deleted meanwhile."""
    table, found = TABLES[kind], dict[str, R]()
    for ids in batches.filled_parts(record_ids):
        for row in conn.execute(select(table).where(table.c.id.in_(ids), table.c.deleted_at.is_(None))):
            found[row.id] = to_record(kind, row)
    return [found[record_id] for record_id in record_ids if record_id in found]


def count(conn: Connection, kind: type[Record], query: ListQuery) -> int:
    """Return the number of records on all pages together."""
    return paging.count(conn, TABLES[kind], query)


def already_managed(record: Record) -> errors.AlreadyManaged:
    """Return the error for a record whose reference, or whose object, another record owns."""
    object_text = f"the object that {record.reference.text} names on {record.location.server}"
    return errors.AlreadyManaged(
        f"{object_text} is managed or being managed already",
        record.id,
        [key for key in (record.reference_key, record.identity_key) if key],
    )


_others = services.alias("others")
_of_project = quotas.c.project_id == bindparam("project_id")
_failed_snapshots, _failed_volumes = counts_of_failed_records(bindparam("project_id"))


@dataclass(frozen=True)
class VolumeForRequest:
    """The part of a volume that a request for one of its snapshots depends on, and the quota of the request's project.

    `service` is the volume's server, None without a heartbeat; `shared` means that other servers serve its storage.
    `quota` has the limits that such a request can exceed, and `failed_records` is the project's number of these.
    """

    project_id: str
    location: Location
    status: Status
    size_gb: int | None
    backend_name: str | None
    service: Service | None
    shared: bool
    quota: ProjectQuota
    failed_records: int


def volumes_for_request(conn: Connection, volume_ids: Collection[str], project_id: str) -> dict[str, VolumeForRequest]:
    """Return everything needed to validate a project's requests for snapshots of volumes, by the volume's id.

    The volumes can't be unmanaged until the transaction ends. One query does it for a request: each round trip adds to
    the client's latency.
    """
    return {
        row.id: _volume_for_request(row, project_id)
        for part in batches.filled_parts(sorted(volume_ids))
        for row in conn.execute(_volumes_with_any_id(len(part)), {"project_id": project_id, **batches.numbered(part)})
    }


def volume_for_request(conn: Connection, volume_id: str, project_id: str) -> VolumeForRequest | None:
    """Like `volumes_for_request`, for one volume; None without such a volume."""
    return volumes_for_request(conn, [volume_id], project_id).get(volume_id)


@lru_cache(len(batches.VALUES_AT_ONCE))
def _volumes_with_any_id(count: int) -> Select[Any]:
    # The rows are locked as by `hold_many`, those of other tables are not: a request may wait, and no heartbeat may.
    held = (
        select(
            *(volumes.c[name] for name in ("id", "project_id", "host", "server", "status", "size_gb", "backend_name"))
        )
        .where(batches.any_of(volumes.c.id, count), volumes.c.deleted_at.is_(None))
        .order_by(volumes.c.id)
        .with_for_update(read=True, key_share=True)
        .subquery("held")
    )
    return (
        select(
            held,
            services.c.driver,
            services.c.heartbeat_at,
            services.c.disabled_reason,
            services.c.storage,
            services.c.protects_origins,
            exists()
            .where(_others.c.storage == services.c.storage, _others.c.server != services.c.server)
            .label("shared"),
            select(quotas.c.snapshots).where(_of_project).scalar_subquery().label("snapshots"),
            select(quotas.c.gigabytes).where(_of_project).scalar_subquery().label("gigabytes"),
            select(quotas.c.failed_records).where(_of_project).scalar_subquery().label("failed_limit"),
            (_failed_snapshots.scalar_subquery() + _failed_volumes.scalar_subquery()).label("failed_records"),
        )
        .select_from(held)
        .outerjoin(services, services.c.server == held.c.server)
    )


def _volume_for_request(row: Any, project_id: str) -> VolumeForRequest:
    beat = (row.server, row.driver, row.heartbeat_at, row.disabled_reason, row.storage, row.protects_origins)
    return VolumeForRequest(
        row.project_id,
        location(row.host),
        Status(row.status),
        row.size_gb,
        row.backend_name,
        service=None if row.heartbeat_at is None else Service(*beat),
        shared=bool(row.shared),
        quota=ProjectQuota(project_id, row.snapshots, row.gigabytes, failed_records=row.failed_limit),
        failed_records=row.failed_records,
    )
