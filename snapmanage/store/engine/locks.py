"""Rows that concurrent transactions queue on, whether they are there already or not."""

from typing import Any

from sqlalchemy import Connection, Insert, Row, Table, select
from sqlalchemy.dialects import mysql, postgresql, sqlite


def lock(conn: Connection, table: Table, row: dict[str, Any]) -> Row[Any]:
    """The row of that primary key as it is, or `row` where there was none; others wait until the transaction ends."""
    same = [column == row[column.name] for column in table.primary_key]
    query = select(table).where(*same).with_for_update()
    # Again, should somebody have removed in between the row that wasn't missing.
    while (found := conn.execute(query).one_or_none()) is None:
        conn.execute(_insert_missing(conn, table, row))
    return found


def _insert_missing(conn: Connection, table: Table, row: dict[str, Any]) -> Insert:
    match conn.dialect.name:
        case "sqlite":
            return sqlite.insert(table).values(row).on_conflict_do_nothing()
        case "postgresql":
            return postgresql.insert(table).values(row).on_conflict_do_nothing()
    # IGNORE would lock a row that is there for reading: two who then want to write it deadlock.
    [key] = table.primary_key
    return mysql.insert(table).values(row).on_duplicate_key_update({key.name: key})
