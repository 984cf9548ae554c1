"""Counts of the whole deployment, each answered by an index; the indexes are described in `store.mapping.tables`."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Table, case, func, select, union_all
from sqlalchemy import exists as any_row

from snapmanage.core.audit.generations import NONE
from snapmanage.core.maintenance.health import Amount, Waiting, Why
from snapmanage.core.outbox import Kind
from snapmanage.core.records import Operation, Status
from snapmanage.store.audit import log
from snapmanage.store.engine import batches
from snapmanage.store.mapping.tables import audit, outbox, quarantine, snapshots, volumes

_UNDER_WAY = [status.value for status in Status if status.in_progress]
_SETTLED = [status.value for status in Status if not status.in_progress]
# Events that one call returns, the oldest first.
MOST_EVENTS = 1000


class Announced(NamedTuple):
    """The latest event of a snapshot, by the time of the step that announced it; the outbox may have it still."""

    snapshot_id: str
    generation: int
    step_at: datetime
    is_waiting: bool


def amounts(conn: Connection) -> dict[tuple[str, Status], Amount]:
    """Return the number of snapshots and their GiB by server and status, without tombstones."""
    columns = snapshots.c
    query = (
        select(columns.server, columns.status, func.count(), func.coalesce(func.sum(columns.size_gb), 0))
        .where(columns.status != Status.DELETED.value)
        .group_by(columns.server, columns.status)
    )
    found = conn.execute(query).all()
    return {(server, Status(status)): Amount(int(count), int(size)) for server, status, count, size in found}


def late(conn: Connection, servers: Collection[str], now: datetime, before: datetime) -> dict[tuple[str, Why], int]:
    """Return the number of operations that were requested before a time, by server and by their step.

    `core.maintenance.stuck.explain` measures the same time. It knows nothing of a server that is down.
    """
    under_way = _under_way(servers, now)
    query = select(under_way.c.server, under_way.c.why, func.count()).where(under_way.c.since < before)
    found = conn.execute(query.group_by(under_way.c.server, under_way.c.why)).all()
    return {(server, Why(why)): int(count) for server, why, count in found}


def oldest_due(conn: Connection, servers: Collection[str], now: datetime) -> dict[str, datetime]:
    """Return the earliest time since which a worker could have claimed an operation, by server."""
    found: dict[str, datetime] = {}
    for columns in (volumes.c, snapshots.c):
        due = columns.server.in_(servers) & (columns.due_at <= now)
        query = select(columns.server, func.min(columns.due_at)).where(due).group_by(columns.server)
        for server, due_at in conn.execute(query):
            found[server] = min(due_at, found.get(server, due_at))
    return found


def settled_since(conn: Connection, servers: Collection[str], since: datetime) -> dict[tuple[str, Status], int]:
    """Return the number of snapshots whose operation has ended since a time, by server and status."""
    columns = snapshots.c
    query = select(columns.server, columns.status, func.count()).where(_settled(servers, since))
    found = conn.execute(query.group_by(columns.server, columns.status)).all()
    return {(server, Status(status)): int(count) for server, status, count in found}


def waiting_messages(conn: Connection) -> dict[Kind, Waiting]:
    """Return the number and the oldest of the messages in the outbox by kind."""
    query = select(outbox.c.kind, func.count(), func.min(outbox.c.created_at)).group_by(outbox.c.kind)
    found = {Kind(kind): Waiting(int(count), oldest) for kind, count, oldest in conn.execute(query)}
    return {kind: found.get(kind, Waiting()) for kind in Kind}


def quarantined(conn: Connection) -> dict[str, Waiting]:
    """Return the number and the oldest of the quarantined messages by queue."""
    columns = quarantine.c
    query = select(columns.queue, func.count(), func.min(columns.received_at)).group_by(columns.queue)
    return {queue: Waiting(int(count), oldest) for queue, count, oldest in conn.execute(query)}


def unrecorded(conn: Connection, servers: Collection[str], since: datetime) -> list[Announced]:
    """Return the latest events of snapshots that the audit log lacks, the oldest first.

    Only operations that are under way, and those that have ended since the time `since`, are compared.
    """
    under_way = snapshots.c.server.in_(servers) & snapshots.c.due_at.is_not(None)
    both = union_all(_unrecorded(_settled(servers, since)), _unrecorded(under_way)).subquery()
    return _announced(conn, select(both).order_by(both.c.step_at).limit(MOST_EVENTS))


def still_unrecorded(conn: Connection, snapshot_ids: Collection[str]) -> list[Announced]:
    """Like `unrecorded`, for snapshots whose latest event the audit log lacked before."""
    parts = batches.filled_parts(sorted(snapshot_ids))
    return [each for part in parts for each in _announced(conn, _unrecorded(snapshots.c.id.in_(set(part))))]


def _unrecorded(wanted: ColumnElement[bool]) -> Select[Any]:
    columns = snapshots.c
    is_recorded = any_row().where(audit.c.snapshot_id == columns.id, audit.c.generation == columns.generation)
    step_at = func.coalesce(columns.step_at, columns.created_at).label("step_at")
    return select(columns.id, columns.generation, step_at).where(wanted, columns.generation > 0, ~is_recorded)


def _announced(conn: Connection, query: Select[Any]) -> list[Announced]:
    rows = conn.execute(query).all()
    ids = [row.id for row in rows]
    if not ids:
        return []
    purged = log.purged(conn, ids)
    of_events = (outbox.c.kind == Kind.NOTIFICATION.value) & outbox.c.record_id.in_(ids)
    waiting = set(conn.execute(select(outbox.c.record_id).where(of_events)).scalars())
    return [
        Announced(row.id, row.generation, row.step_at, row.id in waiting)
        for row in rows
        if row.generation not in purged.get(row.id, NONE)
    ]


def _settled(servers: Collection[str], since: datetime) -> ColumnElement[bool]:
    columns = snapshots.c
    ended = columns.due_at.is_(None) & columns.status.in_(_SETTLED) & (columns.step_at >= since)
    return columns.server.in_(servers) & ended


def _under_way(servers: Collection[str], now: datetime) -> Any:
    """Return a subquery of the operations under way, each with its step and the time of its request.

    The index has two ranges of them for each server: accepted operations have a time `due_at`, others have none.
    """
    parts: list[Select[Any]] = []
    for table in (volumes, snapshots):
        columns = table.c
        accepted = columns.due_at.is_not(None)
        requested = columns.due_at.is_(None) & columns.status.in_(_UNDER_WAY)
        parts += [select(*_step(table, now)).where(columns.server.in_(servers), each) for each in (accepted, requested)]
    return union_all(*parts).subquery("under_way")


def _step(table: Table, now: datetime) -> Sequence[ColumnElement[Any]]:
    columns = table.c
    is_first = (columns.operation == Operation.MANAGE.value) & (columns.generation <= 1)
    later = func.coalesce(columns.started_at, columns.step_at, columns.updated_at, columns.created_at)
    why = case(
        (columns.due_at.is_(None), Why.NOT_ACCEPTED.value),
        (columns.claimed_by.is_not(None) & (columns.due_at > now), Why.RUNNING.value),
        (columns.claimed_by.is_not(None), Why.LEASE_EXPIRED.value),
        (columns.due_at > now, Why.RETRYING.value),
        else_=Why.UNCLAIMED.value,
    )
    since = case((is_first, columns.created_at), else_=later)
    return columns.server, why.label("why"), since.label("since")
