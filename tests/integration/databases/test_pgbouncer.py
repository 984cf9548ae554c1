"""PostgreSQL behind PgBouncer with its default settings."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from snapmanage.store import quotas
from snapmanage.store.engine import schema
from snapmanage.store.engine.database import Database, connect
from snapmanage.store.engine.failures import passes
from snapmanage.testing import needs
from snapmanage.testing.services.postgresql import PostgreSQL
from snapmanage.testing.services.process import running
from snapmanage.testing.waiting import until
from tests.integration.load import SNAPSHOTS, running_world_on, statuses_after_load
from tests.services import pgbouncer as pgbouncer_service
from tests.services.pgbouncer import PgBouncer


@pytest.fixture(scope="module", params=pgbouncer_service.MODES)
def pgbouncer(request: pytest.FixtureRequest, postgresql: PostgreSQL) -> Iterator[PgBouncer]:
    needs.require(*pgbouncer_service.PROGRAMS)
    with running(pgbouncer_service.in_front_of(postgresql, request.param)) as service:
        yield service


def prepares_after(url: str) -> int | None:
    """Return after how many executions a connection prepares a statement; None if it never does."""
    database = connect(url)
    with database.read() as conn:
        connection: Any = conn.connection.dbapi_connection
        threshold: int | None = connection.prepare_threshold
    database.close()
    return threshold


def answers(database: Database) -> bool:
    """Return whether the database answers; raise an error unless it is one that passes."""
    try:
        return bool(database.now())
    except DBAPIError as error:
        if not passes(error):
            raise
        return False


@pytest.mark.parametrize("query", ["", "?prepare_threshold=0"])
def test_eight_clients_are_served_through_pgbouncer(
    tmp_path: Path, pgbouncer: PgBouncer, query: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), running_world_on(tmp_path, pgbouncer.database() + query) as world:
        assert statuses_after_load(world) == ["available"] * SNAPSHOTS
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


def test_row_locks_of_a_frozen_process_are_released_behind_pgbouncer(pgbouncer: PgBouncer) -> None:
    database, frozen = (connect(url) for url in [pgbouncer.database()] * 2)
    schema.sync(database.engine)
    database.write(lambda conn, _: quotas.open_queue(conn, "project"))
    conn = frozen.engine.connect()
    quotas.queue(conn, ["project"])
    conn.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '100ms'")  # instead of ten seconds

    assert database.write(lambda other, _: quotas.queue(other, ["project"]))

    with pytest.raises(DBAPIError) as ended:
        conn.exec_driver_sql("SELECT 1")
    assert passes(ended.value)
    conn.close()
    frozen.close()
    database.close()


def test_guard_against_idle_transactions_ends_with_its_transaction(pgbouncer: PgBouncer) -> None:
    database = connect(pgbouncer.database())
    show = "SHOW idle_in_transaction_session_timeout"

    with database.read() as conn:
        within = conn.exec_driver_sql(show).scalar_one()
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        outside = conn.exec_driver_sql(show).scalar_one()

    assert (within, outside) == ("10s", "0")
    database.close()


@pytest.mark.parametrize(
    ("query", "threshold"), [("", None), ("?prepare_threshold=0", None), ("?prepare_threshold=7", 7)]
)
def test_statements_are_prepared_behind_pgbouncer_only_if_the_url_requires_it(
    pgbouncer: PgBouncer, query: str, threshold: int | None
) -> None:
    assert prepares_after(pgbouncer.database() + query) == threshold


@pytest.mark.parametrize(("query", "threshold"), [("", 5), ("?prepare_threshold=0", None)])
def test_statements_are_prepared_without_pgbouncer_unless_the_url_prevents_it(
    postgresql: PostgreSQL, query: str, threshold: int | None
) -> None:
    assert prepares_after(postgresql.database() + query) == threshold


def test_postgresql_that_restarts_behind_pgbouncer_is_used_again(postgresql: PostgreSQL) -> None:
    needs.require(*pgbouncer_service.PROGRAMS)
    with running(pgbouncer_service.in_front_of(postgresql, "transaction")) as service:
        database = connect(service.database())
        database.now()

        postgresql.restart()

        until(lambda: answers(database), "the database to be used again", 60)
        database.close()
