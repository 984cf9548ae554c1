"""Changes of records: each has one writer, and a batch is written whole."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import StatementError

from snapmanage.core import lifecycle
from snapmanage.core.backend import GIB, BackendSnapshot
from snapmanage.core.change import Change
from snapmanage.core.origins.patterns import Origin, Rename
from snapmanage.core.records import Snapshot, Status
from snapmanage.store import records
from snapmanage.store.engine.database import Database
from tests.examples import LEASE, NOW, REQUESTER
from tests.functional.store.rows import (
    TEXTS,
    claim,
    due_snapshot,
    insert,
    other_transaction,
    owning_snapshot,
    stored,
    update,
)


def test_second_change_of_the_same_record_writes_nothing(database: Database) -> None:
    before = due_snapshot()
    insert(database, before)
    won, lost = claim(before), replace(claim(before), after=replace(claim(before).after, claimed_by="worker 2"))

    assert update(database, won) == [won]
    assert update(database, lost) == []

    assert stored(database, before.id).claimed_by == "worker 1"


def test_change_of_a_record_that_changed_before_delays_no_other_change_of_the_batch(database: Database) -> None:
    first, lost, last = (due_snapshot(name) for name in ("a", "b", "c"))
    insert(database, first, lost, last)
    update(database, claim(lost))

    written = update(database, claim(first), claim(lost), claim(last))

    assert {change.before.id for change in written} == {first.id, last.id}
    assert [stored(database, each.id).claim_number for each in (first, lost, last)] == [1, 1, 1]


def test_change_of_a_missing_record_writes_nothing(database: Database) -> None:
    assert update(database, claim(due_snapshot())) == []


def test_empty_batch_of_changes_writes_nothing(database: Database) -> None:
    assert update(database) == []


def test_batch_writes_to_each_record_its_own_values(database: Database) -> None:
    one, other = due_snapshot("a", reason="kept"), due_snapshot("b", reason="dropped", status=Status.AVAILABLE)
    insert(database, one, other)

    update(database, claim(one), lifecycle.unmanage(other, REQUESTER, NOW))

    assert (stored(database, one.id).reason, stored(database, other.id).reason) == ("kept", None)


def test_batch_resolves_each_record_to_its_own_object(database: Database) -> None:
    one, other = due_snapshot("a"), due_snapshot("b")
    insert(database, one, other)
    found = [backend_snapshot(f"{text}-{place}") for place, text in enumerate(TEXTS[:2])]

    resolved = [
        lifecycle.resolve(snapshot, each, f"managed {each.name}", NOW + LEASE)
        for snapshot, each in zip((one, other), found, strict=True)
    ]
    update(database, *resolved)

    assert [stored(database, each.id) for each in (one, other)] == [change.after for change in resolved]


@pytest.mark.parametrize("class_name", ["daily", None])
def test_batch_writes_the_origin_of_each_record(database: Database, class_name: str | None) -> None:
    one, other = due_snapshot("a", metadata={"k": "v"}), due_snapshot("b")
    insert(database, one, other)
    origins = [Origin("sanoid", class_name, None, Rename.WARN, "why"), Origin("zrepl", None, None, Rename.WARN, "why")]

    resolved = [
        lifecycle.resolve(snapshot, backend_snapshot(f"s-{snapshot.id}"), f"m-{snapshot.id}", NOW, origin=origin)
        for snapshot, origin in zip((one, other), origins, strict=True)
    ]
    update(database, *resolved)

    assert [stored(database, each.id) for each in (one, other)] == [change.after for change in resolved]
    assert stored(database, one.id).metadata["origin"] == "sanoid"


def test_batch_writes_equal_metadata_to_several_records(database: Database) -> None:
    one, other = due_snapshot("a"), due_snapshot("b")
    insert(database, one, other)

    update(database, *(Change(each, replace(each, metadata={"a": "b", "c": "d"})) for each in (one, other)))

    assert [stored(database, each.id).metadata for each in (one, other)] == [{"a": "b", "c": "d"}] * 2


def test_batch_with_a_value_that_fits_no_column_is_refused_whole(database: Database) -> None:
    one, other = due_snapshot("a"), due_snapshot("b")
    insert(database, one, other)
    # SQLite keeps texts of any length.
    long = backend_snapshot("c", identity="\ud800" if database.engine.dialect.name == "sqlite" else "x" * 256)

    with pytest.raises((StatementError, ValueError)):
        update(
            database,
            lifecycle.resolve(one, backend_snapshot("d"), "managed", NOW + LEASE),
            lifecycle.resolve(other, long, "managed", NOW + LEASE),
        )

    assert [stored(database, each.id) for each in (one, other)] == [one, other]


def backend_snapshot(name: str, identity: str | None = None) -> BackendSnapshot:
    return BackendSnapshot(name, identity or f"id of {name}", GIB, "volume-1", created_at=NOW)


def test_lease_is_renewed_only_under_the_claim_that_holds_it(database: Database) -> None:
    held, lost = due_snapshot("a", claim_number=5), due_snapshot("b", claim_number=5)
    insert(database, held, lost)

    renewed = [lifecycle.renew(held, NOW, LEASE), lifecycle.renew(replace(lost, claim_number=4), NOW, LEASE)]
    database.write(lambda conn, _: records.update(conn, renewed))

    assert stored(database, held.id) == replace(held, due_at=NOW + LEASE)
    assert stored(database, lost.id) == lost


def test_concurrent_changes_of_one_record_are_all_written(database: Database) -> None:
    counter = owning_snapshot(attempt=0)
    insert(database, counter)

    def count(_: int) -> None:
        def work(conn: Connection, now: datetime) -> None:
            (record,) = records.lock_many(conn, Snapshot, [counter.id])
            records.update(conn, [Change(record, replace(record, attempt=record.attempt + 1))])

        database.write(work)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(24)))

    assert stored(database, counter.id).attempt == 24


def test_reader_waits_for_no_writer_and_sees_committed_rows(database: Database) -> None:
    before = due_snapshot()
    insert(database, before)

    with other_transaction(database) as writer:
        assert records.update(writer, [claim(before)])
        assert stored(database, before.id) == before
