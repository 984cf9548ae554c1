"""Workers take due records: the longest due first, and none that another worker has locked."""

from datetime import timedelta

from sqlalchemy import Connection

from snapmanage.core.records import Requester, Snapshot
from snapmanage.core.values.location import Location
from snapmanage.store import records
from snapmanage.store.engine.database import Database
from tests.examples import NOW, SERVER
from tests.functional.databases import ON_SERVERS
from tests.functional.store.rows import SECOND, due_snapshot, insert, other_transaction, owning_snapshot


def take_due_ids(conn: Connection, limit: int = 10) -> list[str]:
    return [record.id for record in records.take_due(conn, Snapshot, SERVER, NOW, limit)]


def test_longest_due_record_is_taken_first_and_later_ones_are_left(database: Database) -> None:
    second, first, third = (due_snapshot(str(seconds), due_at=NOW - seconds * SECOND) for seconds in (2, 3, 1))
    insert(database, second, first, third)
    insert(
        database,
        owning_snapshot("not accepted"),
        due_snapshot("later", due_at=NOW + SECOND),
        due_snapshot("x", location=Location("storage-2", "fast")),
    )

    with database.read() as conn:
        assert take_due_ids(conn) == [first.id, second.id, third.id]
        assert take_due_ids(conn, limit=1) == [first.id]


def test_projects_of_the_round_robin_get_their_share_before_the_longest_due_records(database: Database) -> None:
    long = [due_snapshot(f"a{number}", due_at=NOW - timedelta(seconds=60 - number)) for number in range(9)]
    short = [due_snapshot(name, requester=Requester(name), due_at=NOW) for name in ("b", "c")]
    insert(database, *long, *short)

    with database.engine.connect() as conn, conn.begin():
        found = records.take_due(conn, Snapshot, SERVER, NOW, 6, ["b", "unknown", "c"])

    assert [each.id for each in found] == [each.id for each in [*short, *long[:4]]]


@ON_SERVERS
def test_records_locked_by_another_worker_are_skipped(database: Database) -> None:
    insert(database, *(due_snapshot(name, due_at=NOW - n * SECOND) for n, name in enumerate("abcdef")))

    with other_transaction(database) as other, database.engine.connect() as conn, conn.begin():
        theirs = take_due_ids(other, limit=3)
        mine = take_due_ids(conn)

    # MariaDB may lock every row that it sorted, not only the rows that it returned.
    assert len(theirs) == 3
    assert not set(theirs) & set(mine)
