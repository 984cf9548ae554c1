"""Comparing records with a backend while both go on: nobody is told of what only moved, or isn't listed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot
from snapmanage.core.reconciliation import Kind
from snapmanage.drivers.fake import FakeDriver
from snapmanage.manage import reconciliation
from tests.functional.client import SERVER
from tests.functional.world import World, a_world

FIRST, SECOND, THIRD = (f"volume-1-snapshot-{number}" for number in (1, 2, 3))


class ListingDriver(FakeDriver):
    """Leaves out of its listing what is `unlisted`; while it lists, `before` and `after` happen."""

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
    with a_world(tmp_path, {SERVER: ListingDriver()}) as made:
        yield made


def told(world: World) -> list[tuple[Kind, str]]:
    found = reconciliation.differences(world.db, SERVER, world.driver)
    return [(each.kind, each.snapshot.id) for each in found]


def give_back(world: World, snapshot_id: str) -> None:
    assert world.client.unmanage(snapshot_id).status_code == 202
    world.given_back(snapshot_id)


def test_only_what_is_nowhere_on_the_backend_has_vanished(world: World) -> None:
    volume = world.known_volume()
    unlisted, gone, replaced = (world.managed(volume, name) for name in (FIRST, SECOND, THIRD))
    world.driver.unlisted = {f"snapshot-{unlisted}", f"snapshot-{replaced}"}
    world.driver.remove(f"snapshot-{gone}")
    world.driver.add_snapshot("volume-1", f"snapshot-{replaced}")

    assert told(world) == [(Kind.VANISHED, gone), (Kind.REPLACED, replaced)]


def test_snapshot_whose_name_is_a_volumes_by_now_is_not_gone(world: World) -> None:
    snapshot_id = world.managed(world.known_volume(), FIRST)
    world.driver.remove(f"snapshot-{snapshot_id}")
    world.driver.add_volume(f"snapshot-{snapshot_id}")

    assert told(world) == [(Kind.REPLACED, snapshot_id)]


def test_backend_that_cannot_say_what_is_there_is_an_error_and_nothing_has_vanished(world: World) -> None:
    world.driver.unlisted = {f"snapshot-{world.managed(world.known_volume(), FIRST)}"}
    world.failing({"locate": errors.BackendUnavailable("it is away")})

    with pytest.raises(errors.BackendUnavailable):
        told(world)


def test_backend_that_lists_everything_that_is_managed_is_asked_for_nothing_more(world: World) -> None:
    world.managed(world.known_volume(), FIRST)
    located = world.counted("locate")

    assert (told(world), located) == ([], [])


def test_snapshot_that_moved_during_the_scan_is_not_told_of(world: World) -> None:
    volume = world.known_volume()
    first, second = world.managed(volume, FIRST), world.managed(volume, SECOND)
    world.driver.before = lambda: give_back(world, first)

    def after() -> None:
        give_back(world, second)
        world.managed(volume, THIRD)

    world.driver.after = after

    assert told(world) == []
