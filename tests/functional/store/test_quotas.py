"""The limits of projects."""

from snapmanage.core.quotas import ProjectQuota
from snapmanage.store import quotas
from snapmanage.store.engine.database import Database
from tests.examples import PROJECT


def test_project_has_only_the_limits_that_were_set_last(database: Database) -> None:
    for limits in (
        {"snapshots": 3, "gigabytes": 5},
        {"snapshots": None},
        {"gigabytes": 0, "volumes": 4},
        {"failed_records": 9},
    ):
        database.write(lambda conn, _, limits=limits: quotas.change(conn, PROJECT, limits))  # type: ignore[misc]
    database.write(lambda conn, _: quotas.open_queue(conn, "queued"))

    with database.read() as conn:
        assert quotas.get(conn, PROJECT) == ProjectQuota(PROJECT, None, 0, 4, 9)
        assert quotas.get(conn, "unknown") == ProjectQuota("unknown")
        assert quotas.all_of(conn) == [ProjectQuota(PROJECT, None, 0, 4, 9)]
