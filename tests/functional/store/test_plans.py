"""No step of an operation reads a whole table: each of its queries has an index."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table, select

from snapmanage.core.backend import GIB, BackendSnapshot
from snapmanage.core.lists.paging import ListQuery
from snapmanage.core.outbox import Kind, cast
from snapmanage.core.records import Operation, Snapshot, Status
from snapmanage.core.services import Service
from snapmanage.manage import acceptance, claims, requests, settling
from snapmanage.manage.acceptance import OperationRequest
from snapmanage.manage.application import Application
from snapmanage.manage.claims import WorkerId
from snapmanage.manage.maintenance import health
from snapmanage.manage.settling import Outcome, Resolution
from snapmanage.store import outbox, ownership, quotas, records, services
from snapmanage.store.engine.database import Database
from snapmanage.store.mapping import tables
from snapmanage.testing.waiting import until
from tests import examples
from tests.examples import NOW, PROJECT, SERVER, new_id
from tests.functional.databases import ON_SERVERS, Statement, recorded_statements
from tests.functional.store.rows import list_page

ROWS = 3000
UNIQUE = ("id", "reference_key", "identity_key")
LARGE = ("snapshots", "outbox")


@ON_SERVERS
def test_every_step_finds_its_rows_by_an_index(database: Database, app: Application) -> None:
    fill(database, tables.snapshots, older_snapshots(app), UNIQUE)
    fill(database, tables.outbox, {"due_at": NOW + timedelta(days=1)}, ("id", "record_id"))

    with recorded_statements(database.engine) as statements:
        manage(app)

    assert len(about_large_tables(statements)) > 20
    assert [text for text, values in about_large_tables(statements) if reads_all(database, text, values)] == []


@ON_SERVERS
def test_start_of_a_server_and_stuck_operations_read_no_rows_of_others(database: Database, app: Application) -> None:
    """Operators look for stuck operations while the outbox is long, and a server starts beside many others."""
    fill(database, tables.snapshots, older_snapshots(app) | {"server": "another"}, UNIQUE)
    fill(database, tables.outbox, {"due_at": NOW + timedelta(days=1)}, ("id", "record_id"))

    with recorded_statements(database.engine) as statements, database.read() as conn:
        ownership.any_not_on(conn, SERVER, "storage")
        outbox.casts_due_at(conn, {new_id()})

    assert [reads_all(database, text, values) for text, values in about_large_tables(statements)] == [False] * 2


@ON_SERVERS
def test_list_of_all_projects_sorts_no_records(database: Database, app: Application) -> None:
    fill(database, tables.snapshots, older_snapshots(app), UNIQUE)

    with recorded_statements(database.engine) as statements, database.read() as conn:
        list_page(conn, ListQuery(None, limit=10))

    assert not any(sorts(database, text, values) for text, values in about_large_tables(statements))


@ON_SERVERS
def test_state_of_the_deployment_is_counted_without_its_records(database: Database, app: Application) -> None:
    """The exporter counts every few seconds, also while the outbox is long."""
    settled = {"status": "available", "due_at": None, "step_at": NOW - timedelta(days=9), "generation": 2}
    fill(database, tables.snapshots, older_snapshots(app) | settled, UNIQUE)
    fill(database, tables.outbox, {"due_at": NOW + timedelta(days=1)}, ("id", "record_id"))

    with recorded_statements(database.engine) as statements:
        facts, _ = health.read(app)

    assert facts.snapshots[SERVER, Status.AVAILABLE].count == ROWS
    assert facts.outbox[Kind.CAST].count == ROWS
    assert [text for text, values in about_large_tables(statements) if reads_rows(database, text, values)] == []


@ON_SERVERS
def test_statement_without_an_index_is_detected(database: Database, app: Application) -> None:
    fill(database, tables.snapshots, older_snapshots(app), UNIQUE)

    with recorded_statements(database.engine) as statements, database.read() as conn:
        conn.execute(select(tables.snapshots.c.id).where(tables.snapshots.c.name == "unknown")).all()

    assert [reads_all(database, text, values) for text, values in about_large_tables(statements)] == [True]


@ON_SERVERS
def test_usage_of_a_project_is_counted_without_its_records(database: Database, app: Application) -> None:
    """Requests of a project with a quota wait for the count, and so do the workers of its backends."""
    settled = {"status": "available", "project_id": PROJECT, "due_at": None}
    fill(database, tables.snapshots, settled, UNIQUE)

    with recorded_statements(database.engine) as statements, database.read() as conn:
        usage = quotas.usage_of_snapshots(conn, [PROJECT])[PROJECT]

    assert usage.snapshots == ROWS
    assert [reads_index_only(database, text, values) for text, values in about_large_tables(statements)] == [True]


def manage(app: Application) -> None:
    """Manage and unmanage two snapshots, and list them."""
    requested = [requests.request_snapshot(app, examples.snapshot(name, id=new_id())) for name in ("one", "two")]
    first, second = (OperationRequest(Snapshot, each.id, Operation.MANAGE) for each in requested)
    me = WorkerId(SERVER, "me")
    held = list(acceptance.accept(app, [first], me, room=1).claimed)
    acceptance.accept(app, [second], me, room=0)
    held += claims.claim(app, me, 10, [PROJECT])
    claims.renew(app, [each.record for each in held])
    found = [BackendSnapshot(each.record.id, f"id of {each.record.id}", GIB, "volume-1") for each in held]
    resolutions = [
        Resolution(each.record, seen, "managed")
        for each, seen in zip(held, found, strict=True)
        if isinstance(each.record, Snapshot)
    ]
    resolved = settling.resolve(app, resolutions)
    settled = settling.settle(app, [Outcome(each, seen) for each, seen in zip(resolved, found, strict=True)])
    assert [record.status.value for record in settled] == ["available", "available"]
    app.db.write(relay)
    with app.db.read() as conn:
        services.beat(conn, Service(SERVER, "fake", NOW))
        records.servers_with_due(conn, {SERVER}, NOW)
        list_page(conn, ListQuery(PROJECT, limit=10))
        ownership.owned_among(conn, SERVER, found)


def relay(conn: Connection, now: datetime) -> None:
    """Send due messages like the relay."""
    taken = [message.id for message, _ in outbox.take(conn, now, 10)]
    assert taken
    outbox.postpone(conn, {key: now + timedelta(seconds=5) for key in taken})
    outbox.forget(conn, taken)


def older_snapshots(app: Application) -> dict[str, Any]:
    """Return the columns of older snapshots: they belong to another project, and are settled."""
    return {"status": "available", "project_id": "another", "due_at": None}


def fill(database: Database, table: Table, fields: dict[str, Any], unique: tuple[str, ...]) -> None:
    """Insert many copies of the row that a new request writes into a table."""
    with database.engine.begin() as conn:
        records.insert(conn, requested := examples.snapshot("before", id=new_id()))
        outbox.add(conn, [cast(requested)], NOW, NOW)
        like = dict(conn.execute(select(table)).mappings().first() or {}) | fields
        conn.execute(tables.outbox.delete())
        conn.execute(tables.snapshots.delete().where(tables.snapshots.c.id == requested.id))
        conn.execute(table.insert(), [like | {name: new_id() for name in unique} for _ in range(ROWS)])
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        if conn.dialect.name == "mysql":
            conn.exec_driver_sql(f"ANALYZE TABLE {table.name}").close()
        else:
            until(lambda: is_vacuumed(conn, table), "no transaction to keep rows from being visible to all")


def is_vacuumed(conn: Connection, table: Table) -> bool:
    """Vacuum a table of PostgreSQL; return whether an index alone can answer for each of its rows."""
    # PostgreSQL skips the pages of a few deleted rows unless it cleans the indexes too.
    conn.exec_driver_sql(f"VACUUM (ANALYZE, INDEX_CLEANUP ON) {table.name}")
    pages = "SELECT relpages = relallvisible FROM pg_class WHERE oid = %s::regclass"
    return bool(conn.exec_driver_sql(pages, (table.name,)).scalar_one())


def about_large_tables(statements: Sequence[Statement]) -> list[Statement]:
    """Return the statements about a large table, except those that insert rows."""
    return [each for each in statements if any(name in each[0] for name in LARGE) and not each[0].startswith("INSERT")]


def reads_all(database: Database, statement: str, parameters: Any) -> bool:
    """Return whether the database would read a whole large table."""
    with database.engine.connect() as conn:
        if conn.dialect.name == "mysql":
            plan = conn.exec_driver_sql(f"EXPLAIN {statement}", parameters).mappings()
            return any(row["table"] in LARGE and row["type"] in ("ALL", "index") for row in plan)
        conn.exec_driver_sql("SET LOCAL enable_seqscan = off")  # it is quicker on so few rows
        lines = conn.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars()
        return any(f"Seq Scan on {name}" in line for line in lines for name in LARGE)


def reads_rows(database: Database, statement: str, parameters: Any) -> bool:
    """Return whether the database would read many rows of a large table, rather than an index that has the answer."""
    with database.engine.connect() as conn:
        if conn.dialect.name == "mysql":
            plan = conn.exec_driver_sql(f"EXPLAIN {statement}", parameters).mappings()
            large = [row for row in plan if row["table"] in LARGE and int(row["rows"] or 0) > ROWS / 10]
            return any("Using index" not in (row["Extra"] or "").split("; ") for row in large)
        conn.exec_driver_sql("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        conn.exec_driver_sql("SET LOCAL random_page_cost = 1")
        lines = conn.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars()
        scans = [line for line in lines if "Scan" in line and any(f" on {name}" in line for name in LARGE)]
        return any("Index Only Scan" not in line and _estimate(line) > ROWS / 10 for line in scans)


def _estimate(line: str) -> int:
    """Return the number of rows that PostgreSQL expects of a step of its plan."""
    return int(line.partition("rows=")[2].partition(" ")[0])


def sorts(database: Database, statement: str, parameters: Any) -> bool:
    """Return whether the database would read rows in another order than the statement requires, and sort them."""
    with database.engine.connect() as conn:
        if conn.dialect.name == "mysql":
            plan = conn.exec_driver_sql(f"EXPLAIN {statement}", parameters).mappings()
            return any("filesort" in row["Extra"] for row in plan)
        return any("Sort" in line for line in conn.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars())


def reads_index_only(database: Database, statement: str, parameters: Any) -> bool:
    """Return whether the database would answer from an index of the project alone."""
    with database.engine.connect() as conn:
        if conn.dialect.name == "mysql":
            [row] = conn.exec_driver_sql(f"EXPLAIN {statement}", parameters).mappings()
            return row["type"] == "ref" and "Using index" in row["Extra"]
        conn.exec_driver_sql("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        # With the usual cost, this wide index and the table in the order of a narrow one cost the same for so few rows.
        conn.exec_driver_sql("SET LOCAL random_page_cost = 1")
        plan = "\n".join(conn.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars())
        assert "Index Only Scan" in plan, plan
        return True
