"""Records are read as they were written."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from snapmanage import errors
from snapmanage.core.backend import GIB
from snapmanage.core.change import Change
from snapmanage.core.lists.paging import ListQuery
from snapmanage.core.records import Operation, Requester, Snapshot, Status, Volume, changed
from snapmanage.store import records
from snapmanage.store.engine.database import Database
from tests import examples
from tests.examples import NOW, PROJECT
from tests.functional.databases import ON_SERVERS
from tests.functional.store.rows import SECOND, TEXTS, due_snapshot, insert, list_page, owning_snapshot, stored, update


def full_snapshot(**fields: Any) -> Snapshot:
    """Return a snapshot with a value in every field."""
    return examples.snapshot(
        name="for users",
        description="of the night",
        metadata={"k": "v", "empty": ""},
        size_gb=2**40,
        status=Status.ERROR,
        operation=Operation.UNMANAGE,
        generation=2**31 - 1,
        claim_number=2**31 - 1,
        attempt=7,
        started_at=NOW - SECOND,
        due_at=NOW + SECOND,
        claimed_by="worker 1",
        reason="it was busy",
        reason_code="in_use",
        backend_id="identity",
        backend_name="snapshot-2",
        original_name="daily",
        backend_created_at=NOW - timedelta(days=1),
        reference_key="a" * 64,
        identity_key="b" * 64,
        updated_at=NOW + SECOND,
        step_at=NOW,
        deleted_at=NOW + 2 * SECOND,
        storage="array:1",
        upstream="cinder",
        batch_position=3,
        batch_size=200,
        **fields,
    )


def test_record_is_read_as_it_was_written(database: Database) -> None:
    assert None not in vars(full_snapshot()).values()

    insert(database, full_snapshot())

    assert stored(database, full_snapshot().id) == full_snapshot()


def test_id_with_a_blank_at_its_end_is_unknown(database: Database) -> None:
    insert(database, examples.snapshot())

    with database.read() as conn:
        assert records.get(conn, Snapshot, f"{examples.snapshot().id} ") is None


def test_times_keep_their_microseconds_and_are_in_utc(database: Database) -> None:
    elsewhere_on_earth = datetime.fromisoformat("2026-03-01T23:59:59.999999+13:45")
    snapshot = owning_snapshot(created_at=elsewhere_on_earth, due_at=datetime.max.replace(year=9000, tzinfo=UTC))
    insert(database, snapshot)

    found = stored(database, snapshot.id)

    assert found.created_at == elsewhere_on_earth
    assert found.created_at.tzinfo is UTC
    assert (found.created_at.microsecond, found.due_at and found.due_at.microsecond) == (999999, 999999)


@pytest.mark.parametrize("text", TEXTS)
def test_every_text_is_read_as_it_was_written(database: Database, text: str) -> None:
    snapshot = owning_snapshot(text, name=text, description=text, metadata={text: text}, reason=text, backend_name=text)
    insert(database, snapshot)

    found = stored(database, snapshot.id)

    assert found == snapshot
    assert found.reference.name() == text


def test_longest_name_fits(database: Database) -> None:
    snapshot = owning_snapshot("\U0010ffff" * 5000, name="\U0010ffff" * 255)
    insert(database, snapshot)

    assert stored(database, snapshot.id) == snapshot


def test_tombstone_is_found_only_among_deleted_records(database: Database) -> None:
    insert(database, full_snapshot())

    with database.read() as conn:
        assert records.get(conn, Snapshot, full_snapshot().id) is None
        assert records.get(conn, Snapshot, full_snapshot().id, deleted=True) == full_snapshot()


def test_pages_join_up_to_the_whole_list_even_if_times_are_equal(database: Database) -> None:
    made = [owning_snapshot(str(n), created_at=NOW + n // 3 * SECOND) for n in range(8)]
    insert(database, *made, owning_snapshot("other", requester=Requester("another")))

    with database.read() as conn:
        paged: list[Snapshot] = []
        while page := list_page(conn, ListQuery(PROJECT, limit=2, marker=paged[-1].id if paged else None)):
            paged += page
        everything = list_page(conn, ListQuery(PROJECT))
        behind = list_page(conn, ListQuery(PROJECT, limit=2, offset=3))

    assert paged == everything
    assert behind == everything[3:5]
    assert {record.id for record in everything} == {record.id for record in made}
    assert [record.created_at for record in everything] == sorted((each.created_at for each in made), reverse=True)


def test_list_shows_matching_records_and_no_tombstone(database: Database) -> None:
    named, other = owning_snapshot("a", name="n"), owning_snapshot("b", name="N")
    insert(database, named, other, owning_snapshot("c", name="n", deleted_at=NOW))

    with database.read() as conn:
        assert list_page(conn, ListQuery(PROJECT, {"name": "n"})) == [named]
        assert records.count(conn, Snapshot, ListQuery(PROJECT, {"name": "n"})) == 1
        assert records.count(conn, Snapshot, ListQuery(PROJECT)) == 2


def test_marker_of_another_project_is_unknown(database: Database) -> None:
    theirs = owning_snapshot(requester=Requester("another"))
    insert(database, theirs)

    with database.read() as conn, pytest.raises(errors.InvalidRequest, match=theirs.id):
        list_page(conn, ListQuery(PROJECT, marker=theirs.id))


def test_volume_is_stored_in_its_own_table(database: Database) -> None:
    volume = examples.available_volume(size_gb=3 * GIB)
    insert(database, volume)

    with database.read() as conn:
        assert records.get(conn, Volume, volume.id) == volume
        assert records.get(conn, Snapshot, volume.id) is None


@ON_SERVERS  # SQLite reads all at one moment
def test_operation_that_ends_while_the_records_are_read_is_not_in_progress(database: Database) -> None:
    ending, lasting = due_snapshot("daily"), due_snapshot("weekly")
    insert(database, ending, lasting)

    with database.read() as conn:

        @event.listens_for(conn, "after_cursor_execute", once=True)
        def end(*_: Any) -> None:
            update(database, Change(ending, changed(ending, status=Status.AVAILABLE, due_at=None)))

        found = records.in_progress(conn, Snapshot)

    assert [record.id for record in found] == [lasting.id]
