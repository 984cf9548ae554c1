"""The audit log is one chain, with any number of writers."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from snapmanage.audit import verification
from snapmanage.core.audit import chain as ledger
from snapmanage.core.audit.chain import LogState
from snapmanage.store.audit import log
from snapmanage.store.engine.database import Database
from tests import examples
from tests.examples import new_id


def state(conn: Connection, lock: bool = False) -> LogState:
    found = log.state(conn, lock)
    assert found is not None
    return found


def append_event(database: Database, generation: int) -> None:
    def work(conn: Connection, now: datetime) -> None:
        head = state(conn, lock=True).head
        payload = {"event_id": new_id(), "snapshot_id": examples.SNAPSHOT_ID, "generation": generation}
        log.append(conn, [ledger.next_entry(head, "snapshot.manage.start", payload, now)])

    database.write(work)


def test_audit_log_with_two_writers_is_one_chain(database: Database) -> None:
    append_event(database, 0)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda generation: append_event(database, generation), range(1, 21)))

    with database.read() as conn:
        entries = list(log.entries(conn))
        head = state(conn).head
    assert head.number == len(entries) == 21
    assert ledger.first_break(entries, head) is None


def test_first_two_listeners_start_only_one_chain(database: Database) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda generation: append_event(database, generation), range(2)))

    with database.read() as conn:
        assert ledger.first_break(log.entries(conn), state(conn).head) is None
        assert state(conn).head.number == 2


def test_audit_log_is_read_as_it_was_at_one_moment(database: Database) -> None:
    append_event(database, 1)

    with database.read(at_one_moment=True) as conn:
        head = state(conn).head
        append_event(database, 2)
        entries = list(log.entries(conn))

    assert ledger.first_break(entries, head) is None


def test_audit_log_is_read_in_pages(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "ENTRIES_AT_ONCE", 2)
    for generation in range(5):
        append_event(database, generation)

    with database.read() as conn:
        assert [entry.number for entry in log.entries(conn)] == [1, 2, 3, 4, 5]
        assert [entry.number for entry in log.entries(conn, after=1, until=4)] == [2, 3, 4]
        assert sorted(entry.number for entry in log.numbered(conn, [1, 3, 5, 9])) == [1, 3, 5]


def test_page_of_the_audit_log_has_a_limit_in_bytes(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for generation in range(3):
        append_event(database, generation)
    with database.read() as conn:
        monkeypatch.setattr(log, "BYTES_AT_ONCE", 2 * len(log.entries_page(conn, None)[0].content))

        assert [entry.number for entry in log.entries_page(conn, None)] == [1, 2]
        assert [entry.number for entry in log.entries(conn)] == [1, 2, 3]
        assert [entry.number for entry in log.numbered(conn, [3, 1, 2])] == [1, 2, 3]

        monkeypatch.setattr(log, "BYTES_AT_ONCE", 1)
        assert [entry.number for entry in log.entries_page(conn, 1)] == [2]


def test_newest_entries_are_listed_in_pages_within_the_limit_in_bytes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred entries of a hostile client may have 1.2 GB."""
    for generation in range(4):
        append_event(database, generation)
    monkeypatch.setattr(log, "BYTES_AT_ONCE", 1)
    results = list[int]()

    def count(execution: sa.Connection, clause: object, more: object, values: object, how: object, found: Any) -> None:
        if found.returns_rows and "content" in found.keys():  # noqa: SIM118 - a result is no mapping
            results.append(1)

    sa.event.listen(database.engine, "after_execute", count)

    listed = [entry.number for entry in verification.trail(database, 3)]

    assert listed == [2, 3, 4]
    assert len(results) == 3


def test_audit_log_may_be_read_in_part(database: Database) -> None:
    for generation in range(3):
        append_event(database, generation)

    with database.read() as conn:
        assert next(log.entries(conn)).generation == 0
        assert state(conn).head.number == 3
