"""Compare records with a backend while both change: a snapshot that changed, or isn't listed, is no difference."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot
from snapmanage.core.maintenance.reconciliation import Kind
from snapmanage.drivers.fake import FakeDriver
from snapmanage.manage.maintenance import reconciliation
from tests.functional.client import SERVER
from tests.functional.world import World, running_world

FIRST, SECOND, THIRD = (f"volume-1-snapshot-{number}" for number in (1, 2, 3))


class ListingDriver(FakeDriver):
    """A driver that hides `unlisted` from its listing, and runs `before` and `after` around it."""

    def __init__(self) -> None:
        super().__init__()
        self.unlisted: set[str] = set()
        self.before: Callable[[], object] = lambda: None
        self.after: Callable[[], object] = lambda: None

    def list_snapshots(self) -> list[BackendSnapshot]:
        self.before()
        listed = [each for each in super().list_snapshots() if each.name not in self.unlisted]
        self.after()
        return listed


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with running_world(tmp_path, {SERVER: ListingDriver()}) as made:
        yield made


def reported(world: World) -> list[tuple[Kind, str]]:
    found = reconciliation.differences(world.db, SERVER, world.driver)
    return [(each.kind, each.snapshot.id) for each in found]


def unmanage(world: World, snapshot_id: str) -> None:
    assert world.client.unmanage(snapshot_id).status_code == 202
    world.await_unmanaged(snapshot_id)


def test_only_a_snapshot_that_the_backend_can_not_locate_has_vanished(world: World) -> None:
    volume = world.register_volume()
    unlisted, gone, replaced = (world.manage_snapshot(volume, name) for name in (FIRST, SECOND, THIRD))
    world.driver.unlisted = {f"snapshot-{unlisted}", f"snapshot-{replaced}"}
    world.driver.remove(f"snapshot-{gone}")
    world.driver.add_snapshot("volume-1", f"snapshot-{replaced}")

    assert reported(world) == [(Kind.VANISHED, gone), (Kind.REPLACED, replaced)]


def test_snapshot_whose_name_is_now_a_volume_s_is_not_vanished(world: World) -> None:
    snapshot_id = world.manage_snapshot(world.register_volume(), FIRST)
    world.driver.remove(f"snapshot-{snapshot_id}")
    world.driver.add_volume(f"snapshot-{snapshot_id}")

    assert reported(world) == [(Kind.REPLACED, snapshot_id)]


def test_backend_that_can_not_be_listed_is_an_error_and_no_snapshot_has_vanished(world: World) -> None:
    world.driver.unlisted = {f"snapshot-{world.manage_snapshot(world.register_volume(), FIRST)}"}
    world.fail_at({"locate": errors.BackendUnavailable("it is away")})

    with pytest.raises(errors.BackendUnavailable):
        reported(world)


def test_backend_that_lists_every_managed_snapshot_receives_no_further_call(world: World) -> None:
    world.manage_snapshot(world.register_volume(), FIRST)
    located = world.record_steps("locate")

    assert (reported(world), located) == ([], [])


def test_snapshot_that_changed_during_the_scan_is_not_reported(world: World) -> None:
    volume = world.register_volume()
    first, second = world.manage_snapshot(volume, FIRST), world.manage_snapshot(volume, SECOND)
    world.driver.before = lambda: unmanage(world, first)

    def after() -> None:
        unmanage(world, second)
        world.manage_snapshot(volume, THIRD)

    world.driver.after = after

    assert reported(world) == []
