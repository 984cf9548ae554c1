"""Databases and database servers with unusual defaults."""

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import DataError, DBAPIError

from snapmanage import errors
from snapmanage.core.services import Service
from snapmanage.store import services
from snapmanage.store.engine import schema, suitability
from snapmanage.store.engine.database import connect
from snapmanage.store.engine.failures import passes
from snapmanage.testing import needs
from snapmanage.testing.services import mariadb as mariadb_service
from snapmanage.testing.services.deployment import Deployment
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.postgresql import PostgreSQL
from snapmanage.testing.services.process import running
from tests.integration.load import SNAPSHOTS, running_world_on, statuses_after_load

CHARSETS = [
    "CHARACTER SET latin1",
    "CHARACTER SET latin1 COLLATE latin1_bin",
    "CHARACTER SET ascii",
    "CHARACTER SET utf8mb3",
    "CHARACTER SET ucs2",
    "CHARACTER SET utf16",
    "CHARACTER SET binary",
    "CHARACTER SET utf8mb4 COLLATE utf8mb4_swedish_ci",
]


class UnusualMariaDB(MariaDB):
    """A server with an unusual value of each default that concerns snapmanage."""

    more: Sequence[str] = (
        "--character-set-server=utf16",
        "--collation-server=utf16_danish_ci",
        "--lower-case-table-names=1",
        "--explicit-defaults-for-timestamp=OFF",
        "--default-time-zone=+12:45",
        "--transaction-isolation=SERIALIZABLE",
        "--default-storage-engine=MyISAM",
        "--innodb-default-row-format=COMPACT",
        "--innodb-strict-mode=OFF",
        "--completion-type=RELEASE",
        "--autocommit=0",
        "--sql-mode=",
    )


@pytest.fixture(scope="module")
def odd() -> Iterator[MariaDB]:
    needs.require(*mariadb_service.PROGRAMS)
    with running(UnusualMariaDB) as service:
        yield service


def check_work(folder: Path, url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "snapmanage"), running_world_on(folder, url) as world:
        assert statuses_after_load(world) == ["available"] * SNAPSHOTS
        assert abs(world.db.now() - datetime.now(UTC)) < timedelta(minutes=1)
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


def warnings(url: str) -> str:
    database = connect(url)
    try:
        return "\n".join(suitability.check(database))
    finally:
        database.close()


class StatementLoggingMariaDB(MariaDB):
    """A server that writes statements to its binary log, as some installations do."""

    more: Sequence[str] = ("--log-bin=log", "--server-id=1", "--binlog-format=STATEMENT")


@pytest.mark.parametrize("options", CHARSETS)
def test_mariadb_s_database_may_have_any_charset(
    tmp_path: Path, mariadb: MariaDB, options: str, caplog: pytest.LogCaptureFixture
) -> None:
    check_work(tmp_path, mariadb.database(options), caplog)


@pytest.mark.parametrize(
    "modes",
    [
        "",
        "ANSI",
        "ANSI_QUOTES,PIPES_AS_CONCAT",
        "NO_BACKSLASH_ESCAPES",
        "TRADITIONAL",
        "ORACLE",
        "ONLY_FULL_GROUP_BY,NO_ZERO_DATE,PAD_CHAR_TO_FULL_LENGTH,EMPTY_STRING_IS_NULL",
    ],
)
def test_mariadb_may_have_any_sql_mode(
    tmp_path: Path, odd: MariaDB, modes: str, caplog: pytest.LogCaptureFixture
) -> None:
    odd.set(f"sql_mode = '{modes}'")

    check_work(tmp_path, odd.database(), caplog)


@pytest.mark.parametrize(
    "setting", ["sql_safe_updates = 1", "sql_select_limit = 1", "tx_isolation = 'READ-UNCOMMITTED'"]
)
def test_mariadb_s_sessions_may_begin_with_any_settings(
    tmp_path: Path, mariadb: MariaDB, setting: str, caplog: pytest.LogCaptureFixture
) -> None:
    mariadb.set(setting)
    try:
        check_work(tmp_path, mariadb.database(), caplog)
    finally:
        mariadb.set(f"{setting.partition(' ')[0]} = DEFAULT")


@pytest.mark.parametrize(
    "setting",
    [
        "default_transaction_isolation = 'serializable'",
        "timezone = 'Pacific/Chatham'",
        "datestyle = 'SQL, DMY'",
        "datestyle = 'German'",
        "datestyle = 'Postgres, MDY'",
        "intervalstyle = 'sql_standard'",
        "bytea_output = 'escape'",
        "standard_conforming_strings = off",
        "client_encoding = 'LATIN1'",
        "idle_in_transaction_session_timeout = '1ms'",
    ],
)
def test_postgresql_s_sessions_may_begin_with_any_settings(
    tmp_path: Path, postgresql: PostgreSQL, setting: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = postgresql.database()
    postgresql.set(url, setting)

    check_work(tmp_path, url, caplog)


@pytest.mark.parametrize("options", ["LOCALE_PROVIDER icu ICU_LOCALE 'tr'", "LOCALE 'C'"])
def test_postgresql_s_database_may_have_any_collation(
    tmp_path: Path, postgresql: PostgreSQL, options: str, caplog: pytest.LogCaptureFixture
) -> None:
    check_work(tmp_path, postgresql.database(f"TEMPLATE template0 ENCODING UTF8 {options}"), caplog)


def test_value_that_is_too_long_for_its_column_is_refused_even_if_mariadb_would_cut_it(odd: MariaDB) -> None:
    odd.set("sql_mode = ''")
    database = connect(odd.database())
    schema.sync(database.engine)
    schema.require_current(database.engine)

    with pytest.raises(DataError):
        database.write(lambda conn, now: services.beat(conn, Service("x" * 256, "fake", now)))

    database.close()


def test_unsuitable_charset_of_a_mariadb_database_causes_a_warning(mariadb: MariaDB) -> None:
    url = mariadb.database("CHARACTER SET latin1")

    assert "character set latin1" in warnings(url)
    assert warnings(mariadb.database("CHARACTER SET utf8mb4")) == ""


def test_db_sync_warns_and_continues(tmp_path: Path, mariadb: MariaDB) -> None:
    # With TLS, if the server supports it.
    url = mariadb.database("CHARACTER SET latin1").replace("&ssl_disabled=true", "")

    synced = Deployment(tmp_path, f"[database]\nconnection = {url}\n").manage("db", "sync")

    assert (synced.returncode, synced.stdout) == (0, "The schema is current.\n"), synced.stderr
    assert "warning: the database" in synced.stderr


def test_settings_that_can_lose_requests_cause_a_warning(postgresql: PostgreSQL, odd: MariaDB) -> None:
    url = postgresql.database()
    postgresql.set(url, "synchronous_commit = off")
    odd.set("innodb_flush_log_at_trx_commit = 2")

    assert "synchronous_commit = off" in warnings(url)
    assert "innodb_flush_log_at_trx_commit = 2" in warnings(odd.database())
    assert warnings(postgresql.database()) == ""


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_postgresql_database_of_another_encoding_is_refused_while_it_is_empty(
    postgresql: PostgreSQL, encoding: str
) -> None:
    url = postgresql.database(f"TEMPLATE template0 ENCODING {encoding} LOCALE 'C'")

    with pytest.raises(errors.ConfigurationError, match=f"encoding {encoding}.*createdb"):
        warnings(url)

    database = connect(url)
    schema.sync(database.engine)  # as earlier releases did
    database.close()
    assert "move the data with pg_dump" in warnings(url)


def test_mariadb_that_cannot_log_our_writes_is_refused() -> None:
    needs.require(*mariadb_service.PROGRAMS)
    with (
        running(StatementLoggingMariaDB) as server,
        pytest.raises(errors.ConfigurationError, match="binlog_format = MIXED"),
    ):
        warnings(server.database())


def test_error_of_a_read_only_postgresql_passes(postgresql: PostgreSQL) -> None:
    url = postgresql.database()
    database = connect(url)
    schema.sync(database.engine)
    database.close()
    postgresql.set(url, "default_transaction_read_only = on")

    with pytest.raises(DBAPIError) as refused:
        database.write(lambda conn, now: services.beat(conn, Service("x", "fake", now)))

    assert passes(refused.value)
    database.close()
