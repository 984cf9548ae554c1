"""Reports that the upstream API has not taken yet."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, select, update

from snapmanage.core.records import Operation, Snapshot, Status
from snapmanage.core.upstream import Report, RequestKind
from snapmanage.store.mapping.rows import to_record
from snapmanage.store.mapping.tables import snapshots
from snapmanage.store.mapping.tables import upstream_reports as reports


def add(conn: Connection, owed: Sequence[Report]) -> None:
    """Write reports, except those that are here already."""
    known = set(conn.execute(select(reports.c.id).where(reports.c.id.in_([each.id for each in owed]))).scalars())
    rows = [vars(each) | {"request": each.request.value} for each in owed if each.id not in known]
    if rows:
        conn.execute(reports.insert(), rows)


def take(conn: Connection, now: datetime, lease_end: datetime, limit: int) -> list[Report]:
    """Lease and return up to `limit` due reports, longest due first; each snapshot's reports leave in their order.

    A quarantined report doesn't delay a later one of its snapshot. Rows that other processes have locked are skipped.
    """
    query = select(reports).where(reports.c.due_at <= now, ~exists().where(*_earlier())).order_by(reports.c.due_at)
    found = [_report(row) for row in conn.execute(query.limit(limit).with_for_update(skip_locked=True, of=reports))]
    if found:
        taken = reports.c.id.in_([each.id for each in found])
        conn.execute(update(reports).where(taken).values(due_at=lease_end, attempts=reports.c.attempts + 1))
    return found


def forget(conn: Connection, delivered: Collection[Report]) -> None:
    """Delete reports that need no delivery any more, with quarantined earlier ones of their snapshots."""
    conn.execute(delete(reports).where(reports.c.id.in_([each.id for each in delivered])))
    for each in delivered:
        older = (reports.c.snapshot_id == each.snapshot_id) & (reports.c.created_at < each.created_at)
        conn.execute(delete(reports).where(older, reports.c.due_at.is_(None)))


def postpone(conn: Connection, report: Report, due_at: datetime | None, reason: str) -> None:
    """Make a taken report due at `due_at`, or quarantine it with None, unless its lease has ended meanwhile."""
    held = (reports.c.id == report.id) & (reports.c.attempts == report.attempts + 1)
    conn.execute(update(reports).where(held).values(due_at=due_at, reason=reason))


def retry(conn: Connection, now: datetime, report_ids: Collection[str] | None = None) -> int:
    """Make reports due now, or all quarantined ones with None; return their number."""
    chosen = reports.c.due_at.is_(None) if report_ids is None else reports.c.id.in_(report_ids)
    return conn.execute(update(reports).where(chosen).values(due_at=now, attempts=0)).rowcount


def drop(conn: Connection, report_id: str) -> bool:
    """Delete a report; return False if it is unknown."""
    return bool(conn.execute(delete(reports).where(reports.c.id == report_id)).rowcount)


def all_of(conn: Connection, before: datetime | None = None) -> list[Report]:
    """Return the reports, oldest first; with `before`, only those that were written before a time."""
    query = select(reports).order_by(reports.c.created_at, reports.c.id)
    if before is not None:
        query = query.where(reports.c.created_at < before)
    return [_report(row) for row in conn.execute(query)]


def unreported(conn: Connection, snapshot_ids: Collection[str]) -> set[str]:
    """Return those of the ids whose snapshots have reports here."""
    return set(conn.execute(select(reports.c.snapshot_id).where(reports.c.snapshot_id.in_(snapshot_ids))).scalars())


def settled(conn: Connection, after: str, limit: int) -> list[Snapshot]:
    """Return the next snapshots in the order of their ids that the upstream has requested to manage, and that ended."""
    ended = snapshots.c.status.in_([Status.AVAILABLE.value, Status.ERROR.value])
    requested = snapshots.c.upstream.is_not(None) & (snapshots.c.operation == Operation.MANAGE.value)
    query = select(snapshots).where(snapshots.c.id > after, requested, ended).order_by(snapshots.c.id).limit(limit)
    return [to_record(Snapshot, row) for row in conn.execute(query)]


def unmanaged(conn: Connection) -> list[Snapshot]:
    """Return the tombstones of snapshots that the upstream has requested, oldest first."""
    query = select(snapshots).where(snapshots.c.upstream.is_not(None), snapshots.c.deleted_at.is_not(None))
    return [to_record(Snapshot, row) for row in conn.execute(query.order_by(snapshots.c.deleted_at, snapshots.c.id))]


def _earlier() -> list[Any]:
    """Return the conditions for an earlier report of the same snapshot that is not quarantined."""
    other = reports.alias("earlier")
    before = (other.c.created_at < reports.c.created_at) | (
        (other.c.created_at == reports.c.created_at) & (other.c.id < reports.c.id)
    )
    return [other.c.snapshot_id == reports.c.snapshot_id, other.c.due_at.is_not(None), before]


def _report(row: Row[Any]) -> Report:
    return Report(**{**row._mapping, "request": RequestKind(row.request)})
