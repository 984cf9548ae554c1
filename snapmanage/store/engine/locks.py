"""Locks on rows that may not exist yet."""

from typing import Any

from sqlalchemy import Connection, Insert, Row, Table, select
from sqlalchemy.dialects import mysql, postgresql, sqlite


def lock(conn: Connection, table: Table, row: dict[str, Any]) -> Row[Any]:
    """Lock and return the row with the primary key of `row`, or `row` itself if there was none.

    Other transactions wait until this one ends.
    """
    same = [column == row[column.name] for column in table.primary_key]
    query = select(table).where(*same).with_for_update()
    # Try again if another transaction deletes the row in between.
    while (found := conn.execute(query).one_or_none()) is None:
        conn.execute(_insert_missing(conn, table, row))
    return found


def _insert_missing(conn: Connection, table: Table, row: dict[str, Any]) -> Insert:
    match conn.dialect.name:
        case "sqlite":
            return sqlite.insert(table).values(row).on_conflict_do_nothing()
        case "postgresql":
            return postgresql.insert(table).values(row).on_conflict_do_nothing()
    # IGNORE would lock an existing row for reading: two transactions that then write it deadlock.
    [key] = table.primary_key
    return mysql.insert(table).values(row).on_duplicate_key_update({key.name: key})
