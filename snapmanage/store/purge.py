"""Old rows that can be purged: find them in the order of their keys, and delete them by their keys.

Nothing but the time limits these queries, which have no index: each reads the table from where the last one ended.
"""

from collections.abc import Collection, Iterator, Mapping, Set
from datetime import datetime

from sqlalchemy import Column, Connection, Table, bindparam, delete, func, select

from snapmanage.core.maintenance.purge import Kind
from snapmanage.core.records import Operation, Record, Status
from snapmanage.store.mapping.rows import TABLES
from snapmanage.store.mapping.tables import (
    idempotency_keys,
    messages,
    outbox,
    quarantine,
    services,
    snapshots,
    suspects,
    volumes,
)

# The key and the time of rows that no other row refers to.
_AGED: Mapping[Kind, tuple[Column[str], Column[datetime]]] = {
    Kind.QUARANTINE: (quarantine.c.id, quarantine.c.received_at),
    Kind.MESSAGES: (messages.c.id, messages.c.created_at),
    Kind.KEYS: (idempotency_keys.c.key_digest, idempotency_keys.c.created_at),
    Kind.SUSPECTS: (suspects.c.id, suspects.c.seen_at),
}


def old_records(
    record: type[Record], kind: Kind, before: datetime, conn: Connection, after: str, limit: int
) -> list[str]:
    """Return the next ids of tombstones or of failed records, none of them locked."""
    table = TABLES[record]
    if kind is Kind.TOMBSTONES:
        old = table.c.deleted_at < before
    else:
        failed = (table.c.status == Status.ERROR.value) & (table.c.operation == Operation.MANAGE.value)
        old = failed & (func.coalesce(table.c.step_at, table.c.updated_at) < before)
    query = select(table.c.id).where(table.c.id > after, old).order_by(table.c.id).limit(limit)
    return list(conn.execute(query).scalars())


def old_rows(kind: Kind, before: datetime, conn: Connection, after: str, limit: int) -> list[str]:
    """Return the next keys of rows that no other row refers to, and whose time is before a time."""
    key, time = _AGED[kind]
    query = select(key).where(key > after, time < before).order_by(key).limit(limit)
    if kind is Kind.QUARANTINE:  # a message that contradicts the audit log is evidence, until an operator drops it
        query = query.where(quarantine.c.event_id.is_(None))
    return list(conn.execute(query).scalars())


def delete_rows(kind: Kind, before: datetime, conn: Connection, keys: Collection[str]) -> int:
    """Delete rows by their keys, except those whose time has changed since; return the number of deleted ones."""
    key, time = _AGED[kind]
    return conn.execute(delete(key.table).where(key.in_(keys), time < before)).rowcount


def unsent(conn: Connection, record_ids: Collection[str]) -> set[str]:
    """Return those of the ids whose records have messages in the outbox."""
    return set(conn.execute(select(outbox.c.record_id).where(outbox.c.record_id.in_(record_ids))).scalars())


def parents(conn: Connection, volume_ids: Collection[str]) -> set[str]:
    """Return those of the ids whose volumes have snapshots, tombstones included."""
    return set(conn.execute(select(snapshots.c.volume_id).where(snapshots.c.volume_id.in_(volume_ids))).scalars())


def quarantined_bodies(conn: Connection) -> Iterator[bytes]:
    """Yield the bytes of each quarantined message, few of them at a time: one may have 4 MiB."""
    with conn.execute(select(quarantine.c.body).execution_options(yield_per=4)) as rows:
        yield from rows.scalars()


def delete_records(record: type[Record], conn: Connection, record_ids: Collection[str]) -> int:
    """Delete records with their user messages; return the number of the messages."""
    deleted = conn.execute(delete(messages).where(messages.c.resource_id.in_(record_ids))).rowcount
    table = TABLES[record]
    conn.execute(delete(table).where(table.c.id.in_(record_ids)))
    return deleted


def count_messages(conn: Connection, record_ids: Collection[str]) -> int:
    """Return the number of the user messages about records."""
    return len(conn.execute(select(messages.c.id).where(messages.c.resource_id.in_(record_ids))).all())


def servers_with_records(conn: Connection) -> Set[str]:
    """Return the names of all servers that have volumes or snapshots, tombstones included."""
    return {server for table in (volumes, snapshots) for server in _servers_of(conn, table)}


def _servers_of(conn: Connection, table: Table) -> Iterator[str]:
    """Yield each server in a table; an index leads from one to the next, however many records each has."""
    next_server = select(func.min(table.c.server)).where(table.c.server > bindparam("last"))
    last: str | None = ""
    while last := conn.execute(next_server, {"last": last}).scalar():
        yield last


def delete_service(server: str, before: datetime, conn: Connection, now: datetime) -> bool:
    """Delete a server whose last heartbeat was before a time; return False if it has sent another one since."""
    old = (services.c.server == server) & (services.c.heartbeat_at < before)
    return bool(conn.execute(delete(services).where(old)).rowcount)
