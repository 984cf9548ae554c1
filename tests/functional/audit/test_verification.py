"""`audit verify` compares the log with itself, with the records, and with a head that was kept elsewhere."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from snapmanage import errors
from snapmanage.audit import verification
from snapmanage.audit.listener import Listener
from snapmanage.core import outbox as messages
from snapmanage.core.audit.chain import START, Head
from snapmanage.core.events import Step
from snapmanage.core.records import Status
from snapmanage.store import outbox
from snapmanage.store.audit import histories, purging
from snapmanage.store.engine.database import Database
from snapmanage.store.mapping import tables
from tests import examples
from tests.examples import REQUESTER, SNAPSHOT_ID, new_id
from tests.functional.audit.messages import altered, delivery, event, findings, manage, managed, record

PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "audit.md").read_text()
[SQL_OF_THE_PAGE] = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
EMPTIED = "DELETE FROM audit", "DELETE FROM audit_head"


def execute(database: Database, *statements: str) -> None:
    with database.engine.begin() as conn:
        for statement in statements:
            conn.execute(sa.text(statement))


def cut_back(database: Database, head: Head) -> None:
    """Remove the entries behind `head`, as an attacker would who knows the tables."""
    with database.engine.begin() as conn:
        conn.execute(tables.audit.delete().where(tables.audit.c.number > head.number))
        conn.execute(tables.audit_head.update().values(number=head.number, digest=head.digest))


def test_whole_log_has_no_findings(database: Database) -> None:
    manage(database, *(new_id() for _ in range(3)))

    assert findings(database) == []


def test_emptied_log_is_reported(database: Database) -> None:
    manage(database, SNAPSHOT_ID)
    execute(database, *EMPTIED)

    broken, incomplete = findings(database)

    assert broken.startswith("BROKEN: the head is missing")
    assert incomplete == (
        f"INCOMPLETE: snapshot {SNAPSHOT_ID}: generation 2, which the record announced last, is missing; "
        "none is recorded"
    )


def test_log_that_was_emptied_with_its_head_set_back_is_reported(database: Database) -> None:
    manage(database, SNAPSHOT_ID)
    cut_back(database, START)

    assert [each.partition(":")[0] for each in findings(database)] == ["INCOMPLETE"]


def test_log_that_was_cut_back_is_reported_by_the_records_and_by_a_later_head(database: Database) -> None:
    manage(database, SNAPSHOT_ID)
    before = verification.head(database)
    manage(database, new_id())
    after = verification.head(database)

    cut_back(database, before)

    assert [each.partition(":")[0] for each in findings(database)] == ["INCOMPLETE"]
    assert findings(database, since=after)[0] == "BROKEN: row 4 is missing: rows were cut off"


def test_log_is_verified_since_a_head_that_was_kept(database: Database) -> None:
    manage(database, SNAPSHOT_ID)
    kept = verification.head(database)
    execute(database, "UPDATE audit SET content = '{}' WHERE number = 1")
    manage(database, new_id())

    assert findings(database, since=kept) == []
    assert findings(database)[0] == "BROKEN: row 1 was changed"


def test_other_digest_of_the_kept_head_is_reported(database: Database) -> None:
    manage(database, SNAPSHOT_ID)
    head = verification.head(database)

    [found] = findings(database, since=Head(1, "a" * 64))

    assert found.startswith("BROKEN: row 1 has the digest ")
    assert findings(database, since=Head(head.number + 1, "a" * 64)) == ["BROKEN: row 3 is missing: rows were cut off"]


def test_changed_row_is_detected(database: Database) -> None:
    manage(database, SNAPSHOT_ID)
    execute(database, "UPDATE audit SET event_type = 'snapshot.manage.error' WHERE number = 2")

    assert findings(database)[0] == "BROKEN: row 2 was changed"


def test_row_with_unreadable_content_is_detected(database: Database) -> None:
    manage(database, SNAPSHOT_ID)
    execute(database, "UPDATE audit SET content = 'no JSON' WHERE number = 2")

    assert findings(database)[0] == "BROKEN: row 2 was changed"


def test_event_in_the_outbox_is_not_yet_recorded(database: Database) -> None:
    snapshot, (start, _) = managed()
    record(database, snapshot)
    [message] = messages.notifications(event(Step.END, generation=2), REQUESTER, both_dialects=False)
    database.write(lambda conn, now: outbox.add(conn, [message], now, now))
    Listener(database)([start])

    assert findings(database) == [
        f"NOTE: snapshot {SNAPSHOT_ID}: generation 2 is not yet recorded: it waits in the outbox"
    ]


def test_event_that_was_announced_lately_is_not_yet_recorded(database: Database) -> None:
    snapshot, (start, _) = managed()
    record(database, snapshot)
    Listener(database)([start])

    assert findings(database, in_flight=timedelta(minutes=5)) == [
        f"NOTE: snapshot {SNAPSHOT_ID}: generation 2 is not yet recorded: it was announced lately"
    ]
    assert findings(database)[0].startswith("INCOMPLETE: ")


def test_missing_event_between_others_is_reported(database: Database) -> None:
    snapshot, (_, end) = managed()
    record(database, snapshot)
    Listener(database)([end])

    assert findings(database) == [f"INCOMPLETE: snapshot {SNAPSHOT_ID}: generation 1 is missing before row 1"]


def test_event_of_an_operation_in_progress_is_complete(database: Database) -> None:
    record(database, examples.snapshot(generation=1))
    Listener(database)([delivery(event())])

    assert findings(database) == []


def test_event_of_a_generation_that_was_never_announced_is_forged(database: Database) -> None:
    manage(database, SNAPSHOT_ID)
    Listener(database)([altered("snapshot.unmanage.start", generation=3)])

    assert findings(database) == [
        f"FORGED: snapshot {SNAPSHOT_ID}: row 3 has generation 3, but the record announced only up to 2"
    ]


def test_events_of_a_snapshot_without_a_record_are_forged(database: Database) -> None:
    Listener(database)(managed()[1])

    assert findings(database) == [
        f"FORGED: snapshot {SNAPSHOT_ID}: the database has no record of the snapshot, "
        "so it did not announce row 1 and 1 more"
    ]


def test_event_of_a_rejected_request_needs_no_record(database: Database) -> None:
    Listener(database)([altered("snapshot.manage.error", generation=0, event_id=new_id(), status="error")])

    assert findings(database) == []


def test_snapshot_whose_record_was_deleted_keeps_its_announced_generation(database: Database) -> None:
    Listener(database)(managed()[1])
    database.write(lambda conn, _: histories.keep_announced(conn, {SNAPSHOT_ID: 2}))

    assert findings(database) == []

    cut_back(database, START)
    assert [each.partition(":")[0] for each in findings(database)] == ["INCOMPLETE"]


def test_events_of_an_older_release_are_checked_by_the_generation_that_they_name(database: Database) -> None:
    available, _ = managed()
    record(database, examples.snapshot(generation=8, status=Status.UNMANAGING, reference=available.reference))
    start = altered("snapshot.manage.start", generation=2, previous_generation=None)
    end = altered("snapshot.manage.end", generation=5, previous_generation=2)
    Listener(database)([start, end, altered(generation=6), altered("snapshot.unmanage.start", generation=8)])

    assert findings(database) == [f"INCOMPLETE: snapshot {SNAPSHOT_ID}: generation 7 is missing before row 4"]


def test_histories_are_read_in_pages(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "SNAPSHOTS_AT_ONCE", 2)
    recorded, unknown = [new_id() for _ in range(5)], [new_id() for _ in range(3)]
    manage(database, *recorded)
    for each in unknown:
        Listener(database)(managed(each)[1])

    assert sorted(each.split()[2].rstrip(":") for each in findings(database)) == sorted(unknown)


def test_missing_head_can_not_be_printed(database: Database) -> None:
    execute(database, "DELETE FROM audit_head")

    with pytest.raises(errors.NotFound, match="the head is missing"):
        verification.head(database)


@pytest.mark.parametrize("purged", [0, 2])
def test_missing_head_is_restored_from_the_rows_as_the_page_shows(database: Database, purged: int) -> None:
    manage(database, SNAPSHOT_ID, new_id())
    if purged:
        database.write(lambda conn, _: purging.delete_part(conn, START, purged))
    head = verification.head(database)
    execute(database, "DELETE FROM audit_head")

    execute(database, SQL_OF_THE_PAGE.rstrip(";\n"))

    assert verification.head(database) == head
    assert [each for each in findings(database) if not each.startswith("NOTE")] == []
    manage(database, new_id())
    assert verification.head(database).number == head.number + 2
