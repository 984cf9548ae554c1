"""A database of an older release keeps its rows when it is upgraded."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from snapmanage.core import lifecycle
from snapmanage.core.quotas import ProjectQuota
from snapmanage.core.records import Record, Snapshot, Volume
from snapmanage.store import quotas, records
from snapmanage.store.engine import schema
from snapmanage.store.engine.database import Database, connect
from snapmanage.store.mapping import tables
from tests import examples
from tests.examples import NOW

BEFORE_CLAIM_NUMBERS = "0005"


@pytest.fixture
def old(database_url: str) -> Iterator[Engine]:
    """Yield a database with the schema of the release before claim numbers."""
    engine = connect(database_url).engine
    schema.sync(engine, BEFORE_CLAIM_NUMBERS)
    yield engine
    engine.dispose()


def insert(engine: Engine, record: Record, **columns: Any) -> None:
    """Write the row of a record that was just requested, with the columns of that time."""
    names = ("id", "volume_id", "reference_key", "attempt")
    row = {name: getattr(record, name) for name in names if hasattr(record, name)}
    row |= vars(record.requester) | {
        "host": str(record.location),
        "server": record.location.server,
        "reference": record.reference.text,
        "metadata": "{}",
    }
    row |= {"status": record.status.value, "operation": record.operation.value}
    table = sa.Table(f"{type(record).__name__.lower()}s", sa.MetaData(), autoload_with=engine)
    with engine.begin() as conn:
        conn.execute(table.insert(), row | {"created_at": record.created_at.replace(tzinfo=None)} | columns)


def kept(engine: Engine, record: Record) -> Record | None:
    with Database(engine).read() as conn:
        return records.get(conn, type(record), record.id)


@pytest.mark.parametrize(
    ("generation", "announced", "continued"),
    [(1, None, 0), (2, 2, 2), (7, 2, 2), (3, 3, 3), (4, 3, 3)],
    ids=["requested", "claimed", "claimed again", "settled", "unmanage requested"],
)
def test_generation_continues_after_the_latest_event(
    old: Engine, generation: int, announced: int | None, continued: int
) -> None:
    snapshot = lifecycle.request(examples.snapshot(created_at=NOW.replace(microsecond=0)))
    insert(old, snapshot, generation=generation, announced=announced)

    schema.sync(old)

    assert kept(old, snapshot) == replace(snapshot, generation=continued, claim_number=generation)


def test_volume_keeps_its_generation(old: Engine) -> None:
    volume = lifecycle.request(examples.volume(created_at=NOW.replace(microsecond=0)))
    insert(old, volume, generation=3)

    schema.sync(old)

    assert kept(old, volume) == replace(volume, generation=3, claim_number=3)


@pytest.mark.parametrize("tables", [["volumes"], ["volumes", "snapshots"]])
def test_upgrade_that_was_interrupted_is_completed(old: Engine, tables: list[str]) -> None:
    """MariaDB commits each change of a table by itself."""
    snapshot, volume = examples.snapshot(), examples.volume()
    insert(old, snapshot, generation=7, announced=2)
    insert(old, volume, generation=3)
    with old.begin() as conn:
        for table in tables:
            conn.execute(sa.text(f"ALTER TABLE {table} ADD COLUMN claim_number INTEGER DEFAULT 0 NOT NULL"))

    schema.sync(old)

    after = kept(old, snapshot), kept(old, volume)
    assert [(each.generation, each.claim_number) for each in after if each] == [(2, 7), (3, 3)]
    assert [type(each) for each in after] == [Snapshot, Volume]


@pytest.mark.parametrize(
    "done",
    [
        ["ALTER TABLE quotas ADD COLUMN volumes INTEGER"],
        [
            "ALTER TABLE quotas ADD COLUMN volumes INTEGER",
            "ALTER TABLE quotas ADD COLUMN failed_records INTEGER",
            "CREATE INDEX ix_volumes_project_id_status_operation ON volumes (project_id, status, operation)",
        ],
    ],
    ids=["one column", "one index"],
)
def test_upgrade_to_quotas_of_failures_that_was_interrupted_is_completed(old: Engine, done: list[str]) -> None:
    with old.begin() as conn:
        conn.execute(sa.text("INSERT INTO quotas (project_id, snapshots) VALUES ('p', 3)"))
        for statement in done:
            conn.execute(sa.text(statement))

    schema.sync(old)

    schema.require_current(old)
    with Database(old).read() as conn:
        assert quotas.all_of(conn) == [ProjectQuota("p", snapshots=3)]


def test_upgrade_to_the_index_of_counted_records_that_was_interrupted_is_completed(old: Engine) -> None:
    columns = "project_id, size_gb, reference_key, identity_key"
    with old.begin() as conn:
        conn.execute(sa.text(f"CREATE INDEX ix_volumes_{columns.replace(', ', '_')} ON volumes ({columns})"))

    schema.sync(old)

    schema.require_current(old)
    assert all(
        f"ix_{table}_{columns.replace(', ', '_')}" in {index["name"] for index in sa.inspect(old).get_indexes(table)}
        for table in ("volumes", "snapshots")
    )


@pytest.mark.parametrize("done", [0, 1, 2])
def test_upgrade_to_upstream_reports_that_was_interrupted_is_completed(old: Engine, done: int) -> None:
    schema.sync(old, "0009")
    with old.begin() as conn:
        if done:
            conn.execute(sa.text("ALTER TABLE snapshots ADD COLUMN upstream VARCHAR(20)"))
        if done > 1:
            tables.upstream_reports.create(conn)
            conn.execute(sa.text("DROP INDEX ix_upstream_reports_due_at" + on_mariadb(old)))

    schema.sync(old)

    schema.require_current(old)
    indexes = {index["name"] for index in sa.inspect(old).get_indexes("upstream_reports")}
    assert indexes >= {"ix_upstream_reports_snapshot_id", "ix_upstream_reports_due_at"}


def on_mariadb(engine: Engine) -> str:
    return " ON upstream_reports" if engine.dialect.name == "mysql" else ""
