"""Errors of each database: a bad statement is no outage, and no error repeats a statement or its values."""

import traceback

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from snapmanage.store.engine import failures
from snapmanage.store.engine.database import Database, connect
from snapmanage.store.engine.failures import LONGEST_STATEMENT
from snapmanage.store.mapping.tables import quotas
from tests.functional.databases import ON_SERVERS

TOO_DEEP = "SELECT " + "(" * 20_000 + "1" + ")" * 20_000
TOO_MANY_VALUES = {"sqlite": 300_000, "postgresql": 66_000}
INTERRUPTED = {
    "mysql": "SET STATEMENT max_statement_time = 0.01 FOR SELECT sleep(10)",
    "postgresql": "SET LOCAL statement_timeout = 10; SELECT pg_sleep(10)",
}
SECRET = "texts-of-users" * 30
BAD = {
    "unknown column": "SELECT nothing_of_that_name FROM snapshots",
    "syntax": "SELECT FROM WHERE",
    "unknown table": "SELECT 1 FROM nothing_of_that_name",
}


def failure(database: Database, statement: str) -> DBAPIError:
    with pytest.raises(DBAPIError) as raised, database.read() as conn:
        conn.execute(sa.text(statement))
    return raised.value


@pytest.mark.parametrize("statement", BAD.values(), ids=BAD.keys())
def test_bad_statement_is_no_outage_and_is_not_retried(database: Database, statement: str) -> None:
    error = failure(database, statement)

    assert not failures.away(error)
    assert not failures.passes(error)


def test_statement_that_is_too_large_is_no_outage(database: Database) -> None:
    number = TOO_MANY_VALUES.get(database.engine.dialect.name)
    if number is None:
        return  # MariaDB accepts both: PyMySQL writes the values into the statement

    with pytest.raises(DBAPIError) as raised, database.read() as conn:
        conn.execute(sa.select(quotas).where(quotas.c.project_id.in_([str(each) for each in range(number)])))

    assert not failures.away(raised.value)
    assert not failures.away(failure(database, TOO_DEEP))


def test_error_names_the_beginning_of_its_statement_and_none_of_its_values(database: Database) -> None:
    def insert(conn: Connection) -> None:
        conn.execute(quotas.insert(), {"project_id": SECRET, "snapshots": 1, "gigabytes": 1})
        conn.execute(quotas.insert(), {"project_id": SECRET, "snapshots": 1, "gigabytes": 1})

    with pytest.raises(DBAPIError) as raised, database.engine.begin() as conn:
        insert(conn)

    printed = "".join(traceback.format_exception(raised.value))
    assert "INSERT INTO quotas" in printed
    assert len(raised.value.statement or "") <= LONGEST_STATEMENT + 1
    assert SECRET not in printed


@ON_SERVERS
def test_server_that_can_not_be_reached_is_away(database: Database) -> None:
    unreachable = connect(database.engine.url.set(port=1).render_as_string(hide_password=False))

    error = failure(unreachable, "SELECT 1")

    assert failures.away(error)
    unreachable.close()


@ON_SERVERS
def test_server_that_interrupts_a_slow_statement_is_away(database: Database) -> None:
    error = failure(database, INTERRUPTED[database.engine.dialect.name])

    assert failures.away(error)
    assert failures.passes(error)


def test_sqlite_file_that_can_not_be_opened_is_away() -> None:
    missing = connect("sqlite:////nowhere/at/all.db")

    assert failures.away(failure(missing, "SELECT 1"))
    missing.close()
