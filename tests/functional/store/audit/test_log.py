"""The audit log is one chain, with any number of writers."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from sqlalchemy import Connection

from snapmanage.core.audit import chain as ledger
from snapmanage.store import audit as auditlog
from snapmanage.store.engine.database import Database
from tests import examples
from tests.examples import new_id


def append_event(database: Database, generation: int) -> None:
    def work(conn: Connection, now: datetime) -> None:
        head = auditlog.head(conn, lock=True)
        payload = {"event_id": new_id(), "snapshot_id": examples.SNAPSHOT_ID, "generation": generation}
        auditlog.append(conn, [ledger.next_entry(head, "snapshot.manage.start", payload, now)])

    database.write(work)


def test_audit_log_with_two_writers_is_one_chain(database: Database) -> None:
    append_event(database, 0)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda generation: append_event(database, generation), range(1, 21)))

    with database.read() as conn:
        entries = list(auditlog.in_order(conn))
        head = auditlog.head(conn)
    assert head.number == len(entries) == 21
    assert ledger.first_break(entries, head) is None


def test_first_two_listeners_start_only_one_chain(database: Database) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda generation: append_event(database, generation), range(2)))

    with database.read() as conn:
        assert ledger.first_break(auditlog.in_order(conn), auditlog.head(conn)) is None
        assert auditlog.head(conn).number == 2


def test_audit_log_is_read_as_it_was_at_one_moment(database: Database) -> None:
    append_event(database, 1)

    with database.read(at_one_moment=True) as conn:
        head = auditlog.head(conn)
        append_event(database, 2)
        entries = list(auditlog.in_order(conn))

    assert ledger.first_break(entries, head) is None


def test_audit_log_may_be_read_in_part(database: Database) -> None:
    for generation in range(3):
        append_event(database, generation)

    with database.read() as conn:
        assert next(auditlog.in_order(conn)).generation == 0
        assert auditlog.head(conn).number == 3
