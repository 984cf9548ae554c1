"""Workers take due records: the longest due first, and none that another worker has locked."""

from datetime import timedelta

from sqlalchemy import Connection

from snapmanage.core.records import Requester, Snapshot
from snapmanage.core.values.location import Location
from snapmanage.store import records
from snapmanage.store.engine.database import Database
from tests.examples import NOW, SERVER
from tests.functional.store.rows import ON_SERVERS, SECOND, due, elsewhere, insert, owning


def take(conn: Connection, limit: int = 10) -> list[str]:
    return [record.id for record in records.take_due(conn, Snapshot, SERVER, NOW, limit)]


def test_longest_due_record_is_taken_first_and_later_ones_are_left(database: Database) -> None:
    second, first, third = (due(str(seconds), due_at=NOW - seconds * SECOND) for seconds in (2, 3, 1))
    insert(database, second, first, third)
    insert(
        database,
        owning("not accepted"),
        due("later", due_at=NOW + SECOND),
        due("x", location=Location("storage-2", "fast")),
    )

    with database.read() as conn:
        assert take(conn) == [first.id, second.id, third.id]
        assert take(conn, limit=1) == [first.id]


def test_projects_of_the_round_robin_get_their_share_before_the_longest_due_records(database: Database) -> None:
    long = [due(f"a{number}", due_at=NOW - timedelta(seconds=60 - number)) for number in range(9)]
    short = [due(name, requester=Requester(name), due_at=NOW) for name in ("b", "c")]
    insert(database, *long, *short)

    with database.engine.connect() as conn, conn.begin():
        found = records.take_due(conn, Snapshot, SERVER, NOW, 6, ["b", "unknown", "c"])

    assert [each.id for each in found] == [each.id for each in [*short, *long[:4]]]


@ON_SERVERS
def test_records_locked_by_another_worker_are_skipped(database: Database) -> None:
    insert(database, *(due(name, due_at=NOW - n * SECOND) for n, name in enumerate("abcdef")))

    with elsewhere(database) as other, database.engine.connect() as conn, conn.begin():
        theirs = take(other, limit=3)
        mine = take(conn)

    # MariaDB may lock every row that it sorted, not only the rows that it returned.
    assert len(theirs) == 3
    assert not set(theirs) & set(mine)
