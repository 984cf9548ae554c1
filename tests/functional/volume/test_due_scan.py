"""Due operations of all backends of a process are found by one query."""

from pathlib import Path

from snapmanage.drivers.fake import FakeDriver
from snapmanage.testing.waiting import until
from snapmanage.volume.limits import BackendLimits
from tests.functional.databases import Statement, recorded_statements
from tests.functional.volume.helpers import SNAPSHOT
from tests.functional.world import running_world

BACKENDS = [f"storage-1@pool{number}" for number in range(1, 6)]
LIMITS = BackendLimits(scan_interval_seconds=0.05)


def test_idle_backends_of_a_process_share_each_query_for_due_operations(tmp_path: Path) -> None:
    with running_world(tmp_path, {name: FakeDriver() for name in BACKENDS}, backend_limits=LIMITS) as world:
        until(lambda: world.server.servers == set(BACKENDS), "all backends to be served")
        with recorded_statements(world.db.engine) as statements:
            until(lambda: len(scans(statements)) > 2, "three scans")

    assert all(set(BACKENDS) <= set(map(str, values)) for _, values in scans(statements))


def test_operation_of_each_backend_is_retried_when_it_is_due(tmp_path: Path) -> None:
    backends = {name: FakeDriver() for name in BACKENDS[:2]}
    with running_world(tmp_path, backends, backend_limits=LIMITS) as world:
        volumes = [world.register_volume(host=name) for name in backends]
        for driver in backends.values():
            driver.go_away()
        snapshots = [world.request_manage(volume, SNAPSHOT) for volume in volumes]
        until(lambda: all(world.record(each).reason for each in snapshots), "the first attempts to fail")

        for driver in backends.values():
            driver.come_back()
        world.clock.advance(minutes=2)

        assert [world.await_settled(each)["status"] for each in snapshots] == ["available"] * 2


def scans(statements: list[Statement]) -> list[Statement]:
    """Return the queries for due operations: a worker's claim, and the shared query."""
    return [each for each in statements if "snapshots.due_at <=" in each[0]]
