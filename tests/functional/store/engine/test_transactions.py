"""Transactions: they are written whole or not at all, and repeated after a deadlock."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from snapmanage import errors
from snapmanage.core.change import Change
from snapmanage.core.lists.paging import ListQuery
from snapmanage.core.records import Snapshot
from snapmanage.store import records
from snapmanage.store.engine import database as transactions
from snapmanage.store.engine.database import Database, connect, database_clock
from snapmanage.store.engine.failures import passes
from snapmanage.store.mapping import tables
from snapmanage.testing.waiting import until
from tests import examples
from tests.examples import PROJECT
from tests.functional.databases import ON_SERVERS
from tests.functional.store.rows import claim, due_snapshot, insert, owning_snapshot, stored

OWN_CONNECTION = {"mysql": "SELECT CONNECTION_ID()", "postgresql": "SELECT pg_backend_pid()"}
OWN_CONNECTION["mariadb"] = OWN_CONNECTION["mysql"]
# Statements that close a connection from another session, and that check whether it exists.
CLOSING = {
    "mysql": ("KILL {}", "SELECT 1 FROM information_schema.processlist WHERE id = {}"),
    "postgresql": ("SELECT pg_terminate_backend({})", "SELECT 1 FROM pg_stat_activity WHERE pid = {}"),
}
CLOSING["mariadb"] = CLOSING["mysql"]


def test_rows_that_a_frozen_process_has_locked_are_unlocked_after_a_while(database: Database) -> None:
    if database.engine.dialect.name == "sqlite":
        return  # only one process uses it, so no other process waits for the rows
    quick = {"mysql": "init_command=SET SESSION idle_transaction_timeout = 1"}
    url = database.engine.url.update_query_string(
        quick.get(database.engine.dialect.name, "options=-c idle_in_transaction_session_timeout=1s")
    )
    frozen = connect(url.render_as_string(hide_password=False))
    record = examples.snapshot()
    insert(database, record)
    conn = frozen.engine.connect()
    records.lock_many(conn, Snapshot, [record.id])

    assert database.write(lambda other, _: records.lock_many(other, Snapshot, [record.id]))

    with pytest.raises(sa.exc.DBAPIError) as ended:
        conn.execute(sa.text("SELECT 1"))
    assert passes(ended.value)
    conn.close()
    frozen.close()


def test_database_ends_idle_transactions(database: Database) -> None:
    wanted = {
        "mysql": ("SELECT @@SESSION.idle_transaction_timeout", 10),
        "postgresql": ("SHOW idle_in_transaction_session_timeout", "10s"),
    }
    if database.engine.dialect.name in wanted:
        query, seconds = wanted[database.engine.dialect.name]
        with database.read() as conn:
            assert conn.execute(sa.text(query)).scalar_one() == seconds


def test_failed_transaction_writes_nothing(database: Database) -> None:
    def work(conn: Connection, _: datetime) -> None:
        records.insert(conn, owning_snapshot())
        raise errors.InvalidState("refused")

    with pytest.raises(errors.InvalidState):
        database.write(work)

    with database.read() as conn:
        assert records.count(conn, Snapshot, ListQuery(PROJECT)) == 0


@ON_SERVERS
def test_deadlocked_transactions_are_both_written(database: Database) -> None:
    one, other = due_snapshot("a"), due_snapshot("b")
    insert(database, one, other)
    meet = threading.Barrier(2, timeout=20)
    tries: list[str] = []

    def cross(first: Snapshot, second: Snapshot) -> Callable[[Connection, datetime], None]:
        def work(conn: Connection, _: datetime) -> None:
            tries.append(first.id)
            records.lock_many(conn, Snapshot, [first.id])
            if len(tries) <= 2:
                meet.wait()
            change = Change(second, replace(second, attempt=second.attempt + 1))
            assert records.update(conn, [change]) == [change]

        return work

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(database.write, [cross(one, other), cross(other, one)]))

    assert len(tries) > 2
    assert (stored(database, one.id).attempt, stored(database, other.id).attempt) == (1, 1)


@ON_SERVERS
def test_transaction_is_repeated_after_a_lock_wait_that_times_out(database: Database) -> None:
    record, tries = due_snapshot(), list[int]()
    insert(database, record)

    with database.engine.connect() as somebody:
        records.lock_many(somebody, Snapshot, [record.id])

        def work(conn: Connection, now: datetime) -> None:
            tries.append(len(tries))
            if len(tries) == 2:
                somebody.rollback()
            conn.execute(sa.select(tables.snapshots).with_for_update(nowait=True))  # times out at once
            records.update(conn, [claim(record)], locked=True)

        database.write(work)

    assert tries == [0, 1]
    assert stored(database, record.id).attempt == 1


# 1205 and 1213 occur above; MariaDB reports 1020 if a transaction must see all rows as they were when it began.
@pytest.mark.parametrize("code", [1020, 1205, 1213])
def test_transaction_that_mariadb_rolled_back_for_another_is_repeated(code: int) -> None:
    database, failures = connect("sqlite://"), [OperationalError("UPDATE", None, Exception(code, "try restarting"))]

    def work(conn: Connection, now: datetime) -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert database.write(work) == "done"
    database.close()


def test_transaction_that_has_waited_long_for_a_lock_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """MariaDB waits 50 s; a thread of the API would wait ten times as long while another client holds the lock."""
    monkeypatch.setattr(transactions, "RETRY_SECONDS", -1)
    database, tries = connect("sqlite://"), list[int]()

    def work(conn: Connection, now: datetime) -> None:
        tries.append(1)
        raise OperationalError("UPDATE", None, Exception(1205, "Lock wait timeout exceeded"))

    with pytest.raises(OperationalError) as raised:
        database.write(work)

    assert passes(raised.value)  # the request is kept, and a client gets 503
    assert len(tries) == 1
    database.close()


@ON_SERVERS
def test_connection_that_was_closed_while_idle_is_not_used(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "PING_AFTER_SECONDS", 0)
    insert(database, due_snapshot())
    with database.read() as conn:
        connection_id = conn.execute(sa.text(OWN_CONNECTION[conn.dialect.name])).scalar_one()

    somebody = connect(database.engine.url.render_as_string(hide_password=False))
    close, left = CLOSING[database.engine.dialect.name]
    with somebody.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(sa.text(close.format(connection_id)))
        until(lambda: not conn.execute(sa.text(left.format(connection_id))).all(), "the connection to be closed")
    somebody.close()

    with database.read() as conn:
        assert conn.execute(sa.text("SELECT 1")).scalar_one() == 1


def test_time_is_read_from_the_database(database_url: str) -> None:
    database = connect(database_url)

    first, second = database.now(), database.now()

    with database.read() as conn:
        assert first <= second <= database_clock(conn)
    assert first.tzinfo is UTC
    assert abs(first - datetime.now(UTC)) < timedelta(minutes=1)
    database.close()
