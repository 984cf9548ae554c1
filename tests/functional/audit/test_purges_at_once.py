"""Others write beside a purge of the audit log: a purge of records, or a person with an SQL client."""

from concurrent.futures import Future, ThreadPoolExecutor, wait

import pytest
import sqlalchemy as sa

from snapmanage import crash, errors
from snapmanage.audit import checkpoints
from snapmanage.crash import Point
from snapmanage.store.audit import histories
from snapmanage.store.engine.database import Database
from tests.examples import SNAPSHOT_ID, new_id
from tests.functional.audit.messages import findings, logged, manage
from tests.functional.databases import ON_SERVERS

# The other transaction waits for a lock, which no condition shows on every database.
LOCKED_SECONDS = 1


@ON_SERVERS
def test_facts_of_both_purges_are_kept(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    manage(database, SNAPSHOT_ID)
    kept: list[Future[None]] = []

    def keep_meanwhile(point: Point) -> None:
        if point is Point.AUDIT_PURGE_UNCOMMITTED and not kept:
            write = database.write
            kept.append(pool.submit(write, lambda conn, _: histories.keep_announced(conn, {SNAPSHOT_ID: 2})))
            wait(kept, LOCKED_SECONDS)

    monkeypatch.setattr(crash, "at", keep_meanwhile)
    with ThreadPoolExecutor(1) as pool:
        planned = checkpoints.plan_purge(database, checkpoints.make(database, "f" * 64))
        assert [base.number for base in checkpoints.purge(database, planned)] == [2]
        kept[0].result(20)

    assert [each for each in findings(database) if not each.startswith("NOTE")] == []


@pytest.mark.parametrize("removed", [1, 2])
def test_rows_that_were_removed_after_the_plan_stop_the_purge(database: Database, removed: int) -> None:
    manage(database, SNAPSHOT_ID, new_id())
    planned = checkpoints.plan_purge(database, checkpoints.make(database, "f" * 64))
    with database.engine.begin() as conn:
        conn.execute(sa.text(f"DELETE FROM audit WHERE number = {removed}"))

    with pytest.raises(errors.InvalidState, match="rows behind row 0 were removed meanwhile"):
        list(checkpoints.purge(database, planned))

    assert len(logged(database)) == 3
