"""Lists are sorted, filtered and paged alike on each database."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, text

from snapmanage import errors
from snapmanage.core.change import Change
from snapmanage.core.lists.paging import ListQuery
from snapmanage.core.records import Requester, Snapshot, Status, changed
from snapmanage.core.usermessages import UserMessage
from snapmanage.store import ownership, records, usermessages
from snapmanage.store.engine.batches import VALUES_AT_ONCE
from snapmanage.store.engine.database import Database
from snapmanage.store.paging import RECORD_LENGTH
from tests.examples import NOW, PROJECT, new_id, parameter_id, snapshot
from tests.functional.store.rows import list_page

SECOND = timedelta(seconds=1)
OTHER = "another"


def fill(database: Database, *made: Snapshot) -> None:
    for each in made:
        database.write(lambda conn, _, each=each: records.insert(conn, each))  # type: ignore[misc]


def listed(database: Database, **wanted: Any) -> list[Snapshot]:
    with database.read() as conn:
        return list_page(conn, ListQuery(**{"project_id": PROJECT} | wanted))


def paged(database: Database, size: int, **wanted: Any) -> list[Snapshot]:
    """Return the whole list, joined from pages of `size` records."""
    seen: list[Snapshot] = []
    while page := listed(database, limit=size, marker=seen[-1].id if seen else None, **wanted):
        seen += page
        assert len(seen) < 100, "the pages never end"
    return seen


def nine_snapshots(database: Database) -> list[Snapshot]:
    """Create nine snapshots whose fields have equal values or none."""
    made = [
        snapshot(
            f"s{number}",
            id=new_id(),
            name=("b", None, "a")[number % 3],
            size_gb=(None, 2, 10)[number // 3],
            status=(Status.ERROR, Status.AVAILABLE)[number % 2],
            created_at=NOW + number // 4 * SECOND,
            updated_at=None if number % 2 else NOW - number * SECOND,
        )
        for number in range(9)
    ]
    fill(database, *made)
    return made


@pytest.mark.parametrize(
    "sort",
    [
        [("name", "asc")],
        [("name", "desc")],
        [("size_gb", "asc"), ("name", "desc")],
        [("size_gb", "desc"), ("status", "asc"), ("name", "asc")],
        [("updated_at", "asc")],
        [("updated_at", "desc")],
        [("created_at", "desc")],
        [("id", "asc")],
        [("status", "desc"), ("id", "desc")],
    ],
    ids=parameter_id,
)
def test_pages_join_up_to_the_whole_list_in_every_order(database: Database, sort: Sequence[tuple[str, str]]) -> None:
    made = nine_snapshots(database)

    whole = listed(database, sort=sort)

    assert paged(database, 2, sort=sort) == whole
    assert {each.id for each in whole} == {each.id for each in made}


def test_absent_value_counts_as_the_least(database: Database) -> None:
    nine_snapshots(database)

    upwards = listed(database, sort=[("size_gb", "asc"), ("name", "asc")])
    downwards = listed(database, sort=[("updated_at", "desc")])

    expected = [(size, name) for size in (None, 2, 10) for name in (None, "a", "b")]
    assert [(each.size_gb, each.name) for each in upwards] == expected
    times = [each.updated_at for each in downwards]
    assert times == [*sorted((t for t in times if t), reverse=True), *[None] * 4]


def test_equal_records_are_sorted_by_id_in_the_direction_of_the_last_key(database: Database) -> None:
    made = nine_snapshots(database)

    upwards = listed(database, sort=[("operation", "asc")])

    assert [each.id for each in upwards] == sorted(each.id for each in made)
    assert listed(database, sort=[("operation", "desc")]) == upwards[::-1]


def test_list_of_every_project_is_complete_and_accepts_the_marker_of_any_project(database: Database) -> None:
    mine, theirs = snapshot("a", id=new_id()), snapshot("b", id=new_id(), requester=Requester(OTHER))
    fill(database, mine, theirs)

    assert {each.id for each in paged(database, 1, project_id=None)} == {mine.id, theirs.id}
    assert listed(database) == [mine]
    assert listed(database, project_id=OTHER) == [theirs]
    with pytest.raises(errors.InvalidRequest, match="marker"):
        listed(database, marker=theirs.id)


def test_part_of_a_name_matches_literally_in_any_case(database: Database) -> None:
    for name in ("Daily_1", "daily-2", "d%ily", None):
        fill(database, snapshot(str(name), id=new_id(), name=name))

    assert {each.name for each in listed(database, like={"name": "AILY"})} == {"Daily_1", "daily-2"}
    assert {each.name for each in listed(database, like={"name": "y_"})} == {"Daily_1"}
    assert {each.name for each in listed(database, like={"name": "%"})} == {"d%ily"}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"k": "v"}, {"one", "two"}),
        ({"k": "v", "more": "ö"}, {"two"}),
        ({"K": "v"}, set()),
        ({"k": "V"}, set()),
        ({"k": ""}, set()),
        ({"x": 'a"b'}, {"three"}),
        ({}, {"one", "two", "three"}),
    ],
    ids=parameter_id,
)
def test_filter_by_metadata_matches_whole_pairs(database: Database, asked: dict[str, str], found: set[str]) -> None:
    fill(
        database,
        snapshot("1", id=new_id(), name="one", metadata={"k": "v"}),
        snapshot("2", id=new_id(), name="two", metadata={"first": "1", "k": "v", "more": "ö"}),
        snapshot("3", id=new_id(), name="three", metadata={"x": 'a"b', "y": ',"k":"v"', 'z,"k': "v"}),
    )

    assert {each.name for each in listed(database, metadata=asked)} == found


def test_pages_of_user_messages_join_up(database: Database) -> None:
    mine = [
        UserMessage(new_id(), PROJECT, "VOLUME", new_id(), None, "E", "ERROR", "gone", NOW + number // 2 * SECOND)
        for number in range(5)
    ]
    theirs = replace(mine[0], id=new_id(), project_id=OTHER)
    database.write(lambda conn, _: usermessages.add(conn, [*mine, theirs]))

    def page(marker: str | None) -> list[UserMessage]:
        with database.read() as conn:
            return usermessages.list_page(conn, ListQuery(PROJECT, limit=2, marker=marker))

    first = page(None)
    second = page(first[-1].id)
    newest_first = sorted(mine, key=lambda each: (each.created_at, each.id), reverse=True)
    assert first + second + page(second[-1].id) == newest_first
    with pytest.raises(errors.InvalidRequest, match="marker"):
        page(theirs.id)


def test_page_stays_where_it_was_when_a_row_before_it_is_deleted(database: Database) -> None:
    made = sorted(nine_snapshots(database), key=lambda each: (each.created_at, each.id), reverse=True)

    gone = replace(made[3], deleted_at=NOW)
    database.write(lambda conn, _: records.update(conn, [Change(made[3], gone)]))

    assert listed(database, marker=made[3].id) == made[4:]
    assert gone.id not in {each.id for each in listed(database)}


# MariaDB and PostgreSQL choose a plan by their statistics, and read so few rows without an index.
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("marked", [False, True])
def test_page_in_the_default_order_is_read_from_its_index(database: Database, marked: bool) -> None:
    made = nine_snapshots(database)
    asked: list[tuple[str, Any]] = []
    event.listen(database.engine, "before_cursor_execute", lambda *args: asked.append((args[2], args[3])))

    with database.read() as conn:
        records.page_sizes(conn, Snapshot, ListQuery(PROJECT, limit=2, marker=made[0].id if marked else None))

    statement, parameters = asked[-1]
    with database.engine.connect() as conn:
        [step] = conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    bound = " AND created_at<?" if marked else ""
    assert f"INDEX ix_snapshots_project_id_created_at_id (project_id=?{bound})" in step.detail


def test_number_of_records_on_a_page_makes_few_statements(database: Database) -> None:
    statements: set[str] = set()
    event.listen(database.engine, "before_cursor_execute", lambda *event: statements.add(event[2]))
    made = nine_snapshots(database)

    with database.read() as conn:
        statements.clear()
        found = [records.shown(conn, Snapshot, [each.id for each in made][:number]) for number in range(10)]
        for number in range(10, 600, 7):
            records.shown(conn, Snapshot, [new_id() for _ in range(number)])

    assert found == [made[:number] for number in range(10)]
    assert len(statements) == len(VALUES_AT_ONCE)


def test_number_of_ids_in_a_reference_makes_few_statements(database: Database) -> None:
    statements: set[str] = set()
    event.listen(database.engine, "before_cursor_execute", lambda *event: statements.add(event[2]))
    made = nine_snapshots(database)
    owners = [changed(each, id=new_id(), reference_key=each.id) for each in made]
    fill(database, *owners)

    with database.read() as conn:
        statements.clear()
        found = [ownership.live(conn, [each.id for each in owners][:number]) for number in range(10)]
        for number in range(10, 600, 7):
            ownership.live(conn, [new_id() for _ in range(number)])

    assert found == [{each.id for each in owners[:number]} for number in range(10)]
    assert len(statements) == len(VALUES_AT_ONCE)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_list_whose_form_a_client_chooses_is_not_prepared(database: Database) -> None:
    marker = nine_snapshots(database)[0].id
    prepared = text("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%snapshots%'")

    with database.read() as conn:
        for _ in range(10):
            records.page_sizes(conn, Snapshot, ListQuery(PROJECT, like={"name": "x"}, marker=marker))
        chosen = conn.execute(prepared).scalar_one()
        for _ in range(10):
            records.page_sizes(conn, Snapshot, ListQuery(PROJECT))
        plain = conn.execute(prepared).scalar_one()

    assert (chosen, plain) == (0, 1)


@pytest.mark.parametrize("part", ["a", '"', "\x01", "é", "中", "😀"])
def test_size_of_a_record_covers_its_texts_as_json(database: Database, part: str) -> None:
    requester = Requester(PROJECT, user_id=part * 255)
    own = dict.fromkeys(("backend_name", "original_name", "reason"), part * 9000)
    made = snapshot(name=part * 255, description=part * 255, metadata={"k": part * 255}, requester=requester, **own)
    fill(database, made)

    with database.read() as conn:
        [(_, size)] = records.page_sizes(conn, Snapshot, ListQuery(PROJECT))

    texts = (made.metadata, made.name, made.description, made.requester.user_id, PROJECT, str(made.location))
    needed = len(made.reference.text) + sum(len(json.dumps(each)) for each in (*texts, *own.values()))
    assert needed < size < RECORD_LENGTH + 6 * needed


def test_impossible_query_finds_no_row(database: Database) -> None:
    fill(database, snapshot())

    with database.read() as conn:
        assert list_page(conn, ListQuery(PROJECT, never=True)) == []
        assert records.count(conn, Snapshot, ListQuery(PROJECT, never=True)) == 0
