"""A slow operation of a driver that is quick otherwise, and takes one object at a time, delays no other."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from snapmanage.drivers.fake import FakeDriver
from snapmanage.testing.waiting import until
from snapmanage.volume.limits import BackendLimits
from tests.examples import PROJECT, new_id
from tests.functional.client import SERVER
from tests.functional.volume.helpers import publish, request
from tests.functional.world import RULES, World, running_world

QUICK, LATE = range(1, 121), range(121, 131)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Run a server that neither looks for operations by itself nor renews leases before a test has ended."""
    backends = {SERVER: FakeDriver(fake_snapshots=LATE.stop)}
    rules, limits = replace(RULES, lease=timedelta(hours=1)), BackendLimits(scan_interval_seconds=1000)
    with running_world(tmp_path, backends, rules, backend_limits=limits) as world:
        yield world


def cast(world: World, volume: str, numbers: range) -> list[str]:
    """Send the casts of an upstream API in one batch; return the ids of its snapshots."""
    ids = [new_id() for _ in numbers]
    refs = [{"source-name": f"volume-1-snapshot-{number}"} for number in numbers]
    publish(
        world,
        *[
            request("manage_snapshot", snapshot_id=each, volume_id=volume, ref=ref, project_id=PROJECT)
            for each, ref in zip(ids, refs, strict=True)
        ],
    )
    return ids


def available(world: World, ids: Sequence[str]) -> int:
    return sum(world.record(each).status.value == "available" for each in ids)


def test_operations_behind_a_slow_one_are_carried_out_while_it_lasts(world: World) -> None:
    volume = world.register_volume()
    quick = cast(world, volume, QUICK)
    until(lambda: available(world, quick) == len(quick), "the driver to be known as quick")
    with world.hang_at("find") as slow:
        late = cast(world, volume, LATE)
        slow.reached()

        until(lambda: available(world, late) == len(late) - 1, "all but the slow one to be available")
    until(lambda: available(world, late) == len(late), "the slow one to be available")
    assert world.audited_events(late[0], ".end") == ["snapshot.manage.start", "snapshot.manage.end"]
