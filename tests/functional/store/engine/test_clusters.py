"""Servers of a cluster that refuse to write for a while, and the settings of their sessions."""

import logging
from datetime import datetime

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from snapmanage.core.services import Service
from snapmanage.store import services
from snapmanage.store.engine import schema
from snapmanage.store.engine.database import connect
from snapmanage.store.engine.failures import away
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.postgresql import PostgreSQL
from tests.examples import NOW, SERVER

# The error of a Galera node that is not part of the majority.
NOT_READY = sa.text("SIGNAL SQLSTATE '08S01' SET MYSQL_ERRNO = 1047, MESSAGE_TEXT = 'WSREP has not yet prepared node'")


def own_connection(conn: Connection) -> int:
    return int(conn.execute(sa.text("SELECT CONNECTION_ID()")).scalar_one())


def test_transaction_that_a_galera_node_refuses_is_repeated_over_another_connection(mariadb: MariaDB) -> None:
    database, tries = connect(mariadb.database()), list[int]()

    def work(conn: Connection, now: datetime) -> None:
        tries.append(own_connection(conn))
        if len(tries) == 1:
            conn.execute(NOT_READY)

    database.write(work)

    assert len(set(tries)) == 2
    database.close()


def test_refused_rollback_closes_the_connection_and_logs_no_traceback(
    mariadb: MariaDB, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = connect(mariadb.database())

    def refuse(*_: object) -> None:
        raise dbapi.OperationalError(1047, "WSREP has not yet prepared node for application use")

    with caplog.at_level(logging.WARNING), database.engine.connect() as conn:
        dbapi, first = database.engine.dialect.loaded_dbapi, own_connection(conn)
        connection = conn.connection.dbapi_connection
        assert connection is not None
        monkeypatch.setattr(connection, "_read_ok_packet", refuse)

    assert not caplog.records
    with database.read() as conn:
        assert own_connection(conn) != first
    database.close()


def test_connections_to_a_postgresql_that_became_a_standby_are_not_used_again(postgresql: PostgreSQL) -> None:
    url = postgresql.database()
    database = connect(url)
    schema.sync(database.engine)

    def beat(conn: Connection, now: datetime) -> None:
        services.beat(conn, Service(SERVER, "fake", NOW))

    database.engine.dispose()
    postgresql.set(url, "default_transaction_read_only = on")
    with pytest.raises(DBAPIError) as refused:
        database.write(beat)
    assert away(refused.value)

    postgresql.set(url, "default_transaction_read_only = off")
    database.write(beat)  # in a session of the server that can write

    database.close()


def test_sessions_have_the_settings_of_the_url_and_those_that_snapmanage_needs(mariadb: MariaDB) -> None:
    database = connect(f"{mariadb.database()}&init_command=SET SESSION sort_buffer_size = 65536, sql_mode = ''")

    with database.read() as conn:
        found = conn.execute(
            sa.text("SELECT @@SESSION.sort_buffer_size, @@SESSION.sql_mode, @@SESSION.idle_transaction_timeout")
        ).one()

    assert tuple(found) == (65536, "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION", 10)
    database.close()
