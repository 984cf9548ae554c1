"""A signed checkpoint proves the rows of the audit log, and lets old rows be purged without a gap."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from snapmanage import crash, errors
from snapmanage.audit import checkpoints, verification
from snapmanage.audit.listener import Listener
from snapmanage.core.audit.chain import Head
from snapmanage.core.audit.checkpoint import Checkpoint
from snapmanage.core.records import Status
from snapmanage.crash import Point
from snapmanage.store.audit import histories, log, purging
from snapmanage.store.engine.database import Database
from snapmanage.store.mapping import tables
from tests.examples import SNAPSHOT_ID, new_id
from tests.functional.audit.messages import altered, findings, logged, manage, managed, quarantined, record

KEY = "f" * 64


class Killed(Exception):
    """A process died."""


def checkpoint(database: Database) -> Checkpoint:
    return checkpoints.make(database, KEY)


def purge(database: Database, given: Checkpoint) -> list[int]:
    return [base.number for base in checkpoints.purge(database, checkpoints.plan_purge(database, given))]


def execute(database: Database, statement: str) -> None:
    with database.engine.begin() as conn:
        conn.execute(sa.text(statement))


def problems(database: Database, given: Checkpoint | None = None, since: Head | None = None) -> list[str]:
    return [each for each in findings(database, since, checkpoint=given) if not each.startswith("NOTE: rows up to ")]


def test_purged_log_verifies_from_its_base(database: Database) -> None:
    manage(database, SNAPSHOT_ID, new_id())
    given = checkpoint(database)
    manage(database, new_id())

    assert purge(database, given) == [4]

    assert findings(database) == [f"NOTE: rows up to 4 were purged, anchored by digest {given.head.digest}"]
    assert problems(database, given) == []
    assert problems(database, since=given.head) == []
    assert [entry.number for entry in verification.trail(database, 10)] == [5, 6]


@pytest.mark.parametrize("row", [1, 2])
def test_row_that_was_changed_before_a_checkpoint_is_reported(database: Database, row: int) -> None:
    manage(database, SNAPSHOT_ID)
    given = checkpoint(database)

    execute(database, f"UPDATE audit SET content = replace(content, 'daily', 'weekly') WHERE number = {row}")

    assert f"BROKEN: row {row} was changed" in problems(database, given)


def test_row_of_a_head_that_was_kept_is_read_again(database: Database) -> None:
    manage(database, SNAPSHOT_ID)
    kept = verification.head(database)

    execute(database, "UPDATE audit SET content = replace(content, 'daily', 'weekly') WHERE number = 2")

    assert problems(database, since=kept) == ["BROKEN: row 2 was changed"]


def test_whole_log_can_be_purged_and_continued(database: Database) -> None:
    manage(database, new_id())
    given = checkpoint(database)
    purge(database, given)

    manage(database, new_id())
    later = checkpoint(database)
    purge(database, later)

    assert (given.first_number, later.first_number, later.head.number) == (1, 3, 4)
    assert problems(database, later) == []
    assert logged(database) == []
    assert purge(database, given) == []


def test_events_of_one_snapshot_may_be_on_both_sides_of_the_base(database: Database) -> None:
    snapshot, (start, end) = managed()
    record(database, snapshot)
    Listener(database)([start])
    given = checkpoint(database)
    purge(database, given)

    Listener(database)([end])

    assert problems(database, given) == []


def test_events_that_arrived_in_another_order_may_be_on_both_sides_of_the_base(database: Database) -> None:
    snapshot, (start, end) = managed()
    record(database, snapshot)
    Listener(database)([end])
    purge(database, checkpoint(database))

    Listener(database)([start])

    assert problems(database) == []


def test_missing_event_is_still_reported_when_those_around_it_are_purged(database: Database) -> None:
    snapshot, (start, _) = managed()
    record(database, snapshot)
    Listener(database)([start])

    purge(database, checkpoint(database))

    [found] = problems(database)
    assert found.startswith(f"INCOMPLETE: snapshot {SNAPSHOT_ID}: generation 2,")


def test_repeat_of_a_purged_event_is_ignored(database: Database) -> None:
    snapshot, deliveries = managed()
    record(database, snapshot)
    Listener(database)(deliveries)
    purge(database, checkpoint(database))

    Listener(database)([*deliveries, altered(attempt=9)])

    assert logged(database) == []
    assert quarantined(database) == []


def test_true_event_is_written_after_a_forged_one_of_its_generation_was_purged(database: Database) -> None:
    snapshot, (start, end) = managed()
    record(database, replace(snapshot, status=Status.CREATING, generation=1))
    Listener(database)([start, altered("snapshot.manage.error", generation=2)])
    given = checkpoint(database)
    purge(database, given)
    execute(database, "UPDATE snapshots SET status = 'available', generation = 2")

    Listener(database)([start, end])

    assert [entry.event_type for entry in verification.trail(database, 10)] == ["snapshot.manage.end"]
    assert problems(database, given) == []


def test_purge_in_parts_keeps_the_log_whole_between_them(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "ENTRIES_IN_A_PART", 3)
    manage(database, *(new_id() for _ in range(4)))
    given = checkpoint(database)

    for base in checkpoints.purge(database, checkpoints.plan_purge(database, given)):
        assert base.number in (3, 6, 8)
        assert problems(database) == problems(database, given) == []


@pytest.mark.parametrize(("missing", "bases"), [(0, [2]), (1, [1, 2])])
def test_part_has_a_limit_in_bytes(
    database: Database, monkeypatch: pytest.MonkeyPatch, missing: int, bases: list[int]
) -> None:
    manage(database, SNAPSHOT_ID)
    with database.read() as conn:
        needed = conn.execute(sa.select(sa.func.sum(sa.func.length(tables.audit.c.content)))).scalar_one()
    monkeypatch.setattr(purging, "BYTES_IN_A_PART", int(needed) - missing)

    assert purge(database, checkpoint(database)) == bases


@pytest.mark.parametrize("point", [Point.AUDIT_PURGE_UNCOMMITTED, Point.AUDIT_PURGED])
def test_interrupted_purge_continues_when_it_is_repeated(
    database: Database, monkeypatch: pytest.MonkeyPatch, point: Point
) -> None:
    monkeypatch.setattr(purging, "ENTRIES_IN_A_PART", 3)
    manage(database, *(new_id() for _ in range(4)))
    given = checkpoint(database)
    with monkeypatch.context() as patch:
        patch.setattr(crash, "at", lambda reached: die() if reached is point else None)
        with pytest.raises(Killed):
            purge(database, given)
    assert problems(database) == problems(database, given) == []

    left = purge(database, given)

    assert left[-1] == 8
    assert problems(database, given) == []


def die() -> None:
    raise Killed


@pytest.mark.parametrize(
    ("tampering", "reason"),
    [
        ("UPDATE audit SET content = '{}' WHERE number = 2", "row 2 was changed"),
        ("DELETE FROM audit WHERE number = 2", "the events up to row 4 are not those of the checkpoint"),
        ("UPDATE audit_head SET log_id = 'another'", "the checkpoint is of the audit log"),
    ],
)
def test_changed_log_is_not_purged(database: Database, tampering: str, reason: str) -> None:
    manage(database, new_id(), new_id())
    given = checkpoint(database)
    execute(database, tampering)
    before = logged(database)

    with pytest.raises(errors.InvalidState, match=f"nothing was purged: {reason}"):
        purge(database, given)

    assert logged(database) == before


def test_checkpoint_of_another_log_purges_nothing(database: Database) -> None:
    manage(database, new_id())
    given = checkpoint(database)

    with pytest.raises(errors.InvalidState, match="row 2 is the last, but the head says 2"):
        purge(database, replace(given, head=Head(2, "d" * 64)))


def test_broken_log_gets_no_checkpoint(database: Database) -> None:
    manage(database, new_id())
    execute(database, "UPDATE audit SET content = '{}' WHERE number = 1")

    with pytest.raises(errors.InvalidState, match="row 1 was changed"):
        checkpoint(database)


def test_hidden_purge_is_reported_by_a_checkpoint(database: Database) -> None:
    manage(database, SNAPSHOT_ID)
    given = checkpoint(database)
    manage(database, new_id())
    purge(database, checkpoint(database))

    assert problems(database, given) == ["BROKEN: rows up to 4 were purged, so row 2 can't be compared"]


def test_changed_generations_of_purged_events_are_reported_by_a_checkpoint(database: Database) -> None:
    manage(database, SNAPSHOT_ID)
    given = checkpoint(database)
    purge(database, given)
    execute(database, "UPDATE audit_snapshots SET purged = '1-9'")

    [found] = problems(database, given)
    assert found.startswith("BROKEN: the events up to row 2 are not those of the checkpoint")


def test_row_that_was_inserted_before_the_base_is_reported(database: Database) -> None:
    manage(database, SNAPSHOT_ID, new_id())
    given = checkpoint(database)
    purge(database, given)
    manage(database, new_id())
    execute(database, "UPDATE audit SET number = 4 WHERE number = 5")

    assert problems(database)[0] == "BROKEN: row 4 was inserted before the base, row 4"


@pytest.mark.parametrize("number", [0, -1, -5])
def test_row_that_was_inserted_before_the_first_is_reported(database: Database, number: int) -> None:
    manage(database, SNAPSHOT_ID)
    columns = "event_type, snapshot_id, generation, content, heard_at, previous_digest, digest"
    execute(database, f"INSERT INTO audit SELECT {number}, '{new_id()}', {columns} FROM audit WHERE number = 2")

    assert problems(database) == [f"BROKEN: row {number} was inserted before the base, row 0"]


def test_log_that_was_cut_back_behind_a_checkpoint_is_reported(database: Database) -> None:
    manage(database, SNAPSHOT_ID)
    before = verification.head(database)
    manage(database, new_id())
    given = checkpoint(database)
    execute(database, "DELETE FROM audit WHERE number > 2")
    execute(database, f"UPDATE audit_head SET number = 2, digest = '{before.digest}'")

    assert "BROKEN: row 4 is missing: rows were cut off" in problems(database, given)


def test_deleted_records_of_purged_events_keep_their_announced_generations(database: Database) -> None:
    deleted = [SNAPSHOT_ID, new_id(), new_id()]
    manage(database, *deleted[:2])
    purge(database, checkpoint(database))
    manage(database, deleted[2])

    database.write(lambda conn, _: histories.keep_announced(conn, dict.fromkeys(deleted, 2)))
    execute(database, "DELETE FROM snapshots")

    assert problems(database) == []


def test_later_purge_adds_to_the_generations_of_the_first(database: Database) -> None:
    snapshot, (start, end) = managed()
    record(database, snapshot)
    for each in (start, end):
        manage(database, new_id())
        Listener(database)([each])
        purge(database, checkpoint(database))

    with database.read() as conn:
        assert str(log.purged(conn, [SNAPSHOT_ID])[SNAPSHOT_ID]) == "1-2"
    assert problems(database) == []
