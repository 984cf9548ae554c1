"""The schema: migrations create it, and a database without it is refused."""

from functools import partial
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from snapmanage import errors
from snapmanage.store.engine import schema
from snapmanage.store.engine.database import Database, connect
from snapmanage.store.mapping import tables
from tests.functional.store.rows import insert, owning_snapshot, stored


def test_migrations_create_the_tables_that_queries_use(database_url: str) -> None:
    engine = connect(database_url).engine

    schema.sync(engine)

    with engine.connect() as conn:
        opts = {"compare_type": True, "compare_server_default": True, "include_object": partial(exists_on, conn)}
        context = MigrationContext.configure(conn, opts=opts)
        assert compare_metadata(context, tables.metadata) == []
    engine.dispose()


def exists_on(conn: Connection, item: Any, name: str | None, kind: str, reflected: bool, compared: Any) -> bool:
    """Return whether a database has an object; Alembic does not evaluate `ddl_if`, which the indexes by reference have.

    An index that another database has is found in any case.
    """
    return reflected or conn.dialect.name == "mysql" or not (kind == "index" and str(name).endswith("_reference"))


def test_second_sync_changes_nothing(database: Database) -> None:
    snapshot = owning_snapshot()
    insert(database, snapshot)

    schema.sync(database.engine)

    assert stored(database, snapshot.id) == snapshot
    schema.require_current(database.engine)


def test_database_that_was_never_synced_is_refused_with_the_remedy(database_url: str) -> None:
    database = connect(database_url)

    with pytest.raises(errors.ConfigurationError, match="snapmanage-manage db sync"):
        schema.require_current(database.engine)
    database.close()
