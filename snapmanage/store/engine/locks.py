"""Locks on rows that may not exist yet."""

from collections.abc import Mapping, Set
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Insert, Row, Select, Table, select
from sqlalchemy.dialects import mysql, postgresql, sqlite

from snapmanage.store.engine import batches


def lock(conn: Connection, table: Table, row: dict[str, Any]) -> Row[Any]:
    """Lock and return the row with the primary key of `row`, or `row` itself if there was none.

    Other transactions wait until this one ends.
    """
    [key] = table.primary_key
    rows, _ = lock_many(conn, table, {row[key.name]: row})
    return rows[row[key.name]]


def lock_many(
    conn: Connection, table: Table, rows: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, Row[Any]], Set[str]]:
    """Like `lock`, for several rows by their keys; return them, and the keys that had no row at first.

    Every transaction locks in the order of the keys, so that two of them rarely deadlock.
    """
    [key] = table.primary_key
    found: dict[str, Row[Any]] = {}
    missing, absent = sorted(rows), set[str]()
    while missing:
        for part in batches.filled_parts(missing):
            found |= {row._mapping[key]: row for row in conn.execute(_lock(table, len(part)), batches.numbered(part))}
        # Try again if another transaction deletes a row in between.
        missing = [each for each in missing if each not in found]
        absent |= set(missing)
        if missing:
            conn.execute(_insert_missing(conn.dialect.name, table), [dict(rows[each]) for each in missing])
    return found, absent


@lru_cache(64)
def _lock(table: Table, count: int) -> Select[Any]:
    [key] = table.primary_key
    query = select(table).where(batches.any_of(key, count)).order_by(key).with_for_update()
    # MariaDB reads a small table whole otherwise, and waits for rows that other transactions have locked.
    for dialect in ("mysql", "mariadb"):
        query = query.with_hint(table, "FORCE INDEX (PRIMARY)", dialect)
    return query


@lru_cache(64)
def insert_or_replace(dialect: str, table: Table) -> Insert:
    """Return the statement that writes rows whose keys are locked, or are new; drivers send many rows as one."""
    [key] = table.primary_key
    columns = [column.name for column in table.columns if column is not key]
    if dialect in ("sqlite", "postgresql"):
        insert = sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
        return insert.on_conflict_do_update(
            index_elements=[key], set_={name: insert.excluded[name] for name in columns}
        )
    into = mysql.insert(table)
    return into.on_duplicate_key_update({name: into.inserted[name] for name in columns})


@lru_cache(64)
def _insert_missing(dialect: str, table: Table) -> Insert:
    match dialect:
        case "sqlite":
            return sqlite.insert(table).on_conflict_do_nothing()
        case "postgresql":
            return postgresql.insert(table).on_conflict_do_nothing()
    # IGNORE would lock an existing row for reading: two transactions that then write it deadlock.
    [key] = table.primary_key
    return mysql.insert(table).on_duplicate_key_update({key.name: key})
