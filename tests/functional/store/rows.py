"""Rows for the tests of the store, and a second writer."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from snapmanage.core import lifecycle
from snapmanage.core.change import Change
from snapmanage.core.lists.paging import ListQuery
from snapmanage.core.records import Snapshot
from snapmanage.store import records
from snapmanage.store.engine.database import Database
from tests import examples
from tests.examples import LEASE, NOW, RETRY, new_id

SECOND = timedelta(seconds=1)
# An emoji of several code points, combining marks, right to left, the last code point, and quotes.
TEXTS = [
    "\U0001f469\u200d\U0001f680",
    "Z\u0351\u036b\u0343e\u0301",
    "\u0627\u0644\u0644\u0642\u0637\u0629 \u202eabc",
    "\U0010ffff",
    '\'; DROP TABLE snapshots; -- "%s" \\ \n\t',
    "\\'; \\\\' \x1a \r \\",
]


def list_page(conn: Connection, query: ListQuery) -> list[Snapshot]:
    """Return a page of snapshots as `queries.list_records` reads it."""
    return records.shown(conn, Snapshot, [snapshot_id for snapshot_id, _ in records.page_sizes(conn, Snapshot, query)])


def insert(database: Database, *made: Any) -> None:
    def work(conn: Connection, _: datetime) -> None:
        for record in made:
            records.insert(conn, record)

    database.write(work)


def update(database: Database, *changes: Change[Any]) -> list[Change[Any]]:
    return database.write(lambda conn, _: records.update(conn, changes))


def stored(database: Database, record_id: str) -> Snapshot:
    with database.read() as conn:
        record = records.get(conn, Snapshot, record_id, deleted=True)
    assert record is not None
    return record


def owning_snapshot(source: str = "daily", **fields: Any) -> Snapshot:
    """Return a new snapshot that owns its reference."""
    return lifecycle.request(examples.snapshot(source, **{"id": new_id()} | fields))


def due_snapshot(source: str = "daily", **fields: Any) -> Snapshot:
    return owning_snapshot(source, **{"due_at": NOW} | fields)


def claim(snapshot: Snapshot) -> Change[Snapshot]:
    change = lifecycle.claim(snapshot, "worker 1", NOW, LEASE, RETRY)
    assert change is not None
    return change


@contextmanager
def other_transaction(database: Database) -> Iterator[Connection]:
    """Open a transaction of another process, and roll it back in the end."""
    with database.engine.connect() as conn, conn.begin() as transaction:
        yield conn
        transaction.rollback()
