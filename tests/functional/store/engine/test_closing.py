"""Databases that are closed while somebody is still at work."""

from typing import Any

import pytest
import sqlalchemy as sa

from snapmanage.store.engine.database import Database, connect


def test_connection_returned_after_the_database_was_closed_is_closed(database_url: str) -> None:
    database = connect(database_url)

    with database.read() as conn:
        connection: Any = conn.connection.dbapi_connection
        database.close()

    assert is_closed(database, connection)


def is_closed(database: Database, connection: Any) -> bool:
    errors: Any = database.engine.dialect.loaded_dbapi.Error
    with pytest.raises(errors):
        connection.cursor().execute("SELECT 1")
    return True


def test_closed_database_that_is_used_again_leaves_nothing_open(database_url: str) -> None:
    database = connect(database_url)
    database.close()

    with database.read() as conn:
        connection: Any = conn.connection.dbapi_connection
        assert conn.execute(sa.text("SELECT 1")).scalar_one() == 1

    assert is_closed(database, connection)
