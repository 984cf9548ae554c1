"""The schema: migrations create it, and a database without it is refused."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from snapmanage import errors
from snapmanage.store.engine import schema
from snapmanage.store.engine.database import Database, connect
from snapmanage.store.mapping import tables
from tests.functional.store.rows import insert, owning_snapshot, stored


def test_migrations_create_the_tables_that_queries_use(database_url: str) -> None:
    engine = connect(database_url).engine

    schema.sync(engine)

    with engine.connect() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, tables.metadata) == []
    engine.dispose()


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
