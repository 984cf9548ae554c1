"""The codes of databases decide whether the database is away, and whether a retry can help."""

import sqlite3

import pytest
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError

from snapmanage.store.engine import failures


class Coded(Exception):
    """An error of a driver: MariaDB's has a number and perhaps a SQLSTATE, PostgreSQL's a SQLSTATE, SQLite's a code."""

    def __init__(self, code: int | None = None, sqlstate: str | None = None, sqlite_errorcode: int | None = None):
        super().__init__(*([] if code is None else [code]), "text")
        self.sqlstate = sqlstate
        self.sqlite_errorcode = sqlite_errorcode


def raised(original: Exception, statement: str | None = "SELECT 1") -> OperationalError:
    return OperationalError(statement, None, original)


AWAY = {
    "MariaDB has too many connections": Coded(1040),
    "MariaDB shuts down": Coded(1053),
    "MariaDB ended the connection": Coded(2013),
    "MariaDB is a replica": Coded(1290),
    "a node of Galera is not ready": Coded(1047),
    "a node of Galera chose another transaction": Coded(1213),
    "a transaction waited too long for a lock": Coded(1205),
    "a node of Galera left its cluster during a commit": Coded(1180),
    "MariaDB's disk is full": Coded(1021),
    "MariaDB is a replica, by PyMySQL 1.2": Coded(1290, "HY000"),
    "MariaDB's disk is full, by PyMySQL 1.2": Coded(1021, "HY000"),
    "MariaDB interrupted a slow statement, by PyMySQL 1.2": Coded(1969, "70100"),
    "MariaDB's user has used up its limits, by PyMySQL 1.2": Coded(1226, "42000"),
    "PostgreSQL ended the connection": Coded(sqlstate="57P01"),
    "PostgreSQL starts": Coded(sqlstate="57P03"),
    "PostgreSQL has no connection left": Coded(sqlstate="53300"),
    "PostgreSQL's disk is full": Coded(sqlstate="53100"),
    "PostgreSQL is a standby": Coded(sqlstate="25006"),
    "SQLite is busy": Coded(sqlite_errorcode=sqlite3.SQLITE_BUSY_SNAPSHOT),
    "SQLite's disk is full": Coded(sqlite_errorcode=sqlite3.SQLITE_FULL),
    "SQLite can't read its file": Coded(sqlite_errorcode=sqlite3.SQLITE_IOERR_READ),
}
BAD = {
    "MariaDB knows no such column": Coded(1054),
    "MariaDB knows no such column, by PyMySQL 1.2": Coded(1054, "42S22"),
    "the packet is too large for MariaDB": Coded(1153),
    "MariaDB's stack is too small": Coded(1436),
    "the statement is too complex for PostgreSQL": Coded(sqlstate="54001"),
    "PostgreSQL knows no such table": Coded(sqlstate="42P01"),
    "SQLite's expression tree is too deep": Coded(sqlite_errorcode=sqlite3.SQLITE_ERROR),
    "the value is too large for SQLite": Coded(sqlite_errorcode=sqlite3.SQLITE_TOOBIG),
}
UNKNOWN = {
    "an unknown number of MariaDB": Coded(1815),
    "an unknown SQLSTATE": Coded(sqlstate="XX000"),
    "no code": ConnectionError("gone"),
}


@pytest.mark.parametrize("original", AWAY.values(), ids=AWAY.keys())
def test_database_that_does_not_work_is_away(original: Exception) -> None:
    assert failures.away(raised(original))
    assert failures.passes(raised(original))


@pytest.mark.parametrize("original", BAD.values(), ids=BAD.keys())
def test_bad_statement_is_neither_an_outage_nor_retried(original: Exception) -> None:
    assert not failures.away(raised(original))
    assert not failures.passes(raised(original))


@pytest.mark.parametrize("original", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_unknown_error_is_no_outage_for_a_client_but_is_retried(original: Exception) -> None:
    assert not failures.away(raised(original))
    assert failures.may_pass(raised(original))


@pytest.mark.parametrize("kind", [OperationalError, InterfaceError])
def test_database_is_away_if_a_connection_can_not_be_made(kind: type[OperationalError]) -> None:
    assert failures.away(kind(None, None, ConnectionError("refused")))


def test_quicker_transaction_is_a_reason_to_retry_and_no_outage() -> None:
    error = IntegrityError("INSERT", None, Coded(1062))

    assert failures.passes(error)
    assert not failures.may_pass(error)


def test_other_errors_are_no_outage() -> None:
    assert not failures.away(ValueError("odd"))
    assert not failures.passes(ValueError("odd"))


@pytest.mark.parametrize("original", [Coded(1047), Coded(1213), Coded(1205), Coded(1290), Coded(sqlstate="25006")])
def test_transaction_that_was_refused_before_its_commit_is_repeated(original: Exception) -> None:
    assert failures.repeatable(raised(original))


@pytest.mark.parametrize("original", [Coded(1047), Coded(1180), Coded(2013)])
def test_transaction_is_not_repeated_at_once_if_its_commit_may_have_succeeded(original: Exception) -> None:
    assert not failures.repeatable(raised(original, statement=None))
