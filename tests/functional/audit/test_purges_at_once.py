"""A purge of the audit log and a purge of records may run at once, and both keep facts about the same snapshot."""

from concurrent.futures import Future, ThreadPoolExecutor, wait

import pytest

from snapmanage import crash
from snapmanage.audit import checkpoints
from snapmanage.crash import Point
from snapmanage.store.audit import histories
from snapmanage.store.engine.database import Database
from tests.examples import SNAPSHOT_ID
from tests.functional.audit.messages import findings, manage
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
