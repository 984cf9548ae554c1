"""Compare records with a storage that several servers serve, or that has been replaced."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from snapmanage.core.maintenance.reconciliation import Kind
from snapmanage.core.records import owner_key
from snapmanage.drivers.file import FileDriver
from snapmanage.manage.maintenance import reconciliation
from snapmanage.store.mapping import tables
from tests.functional.manage.images import DAILY, DISK, WEEKLY
from tests.functional.world import World, running_world

FIRST, SECOND = "storage-1@images", "storage-2@images"


@pytest.fixture
def world(tmp_path: Path, folder: Path) -> Iterator[World]:
    with running_world(tmp_path, {server: FileDriver(str(folder)) for server in (FIRST, SECOND)}) as made:
        yield made


def own(world: World, snapshot_id: str, other: str) -> None:
    """Let the second server's snapshot own the object of another snapshot, as records of earlier releases can."""
    identity = world.record(other).backend_id
    assert identity
    changes = {"backend_id": identity, "identity_key": owner_key(SECOND, identity)}
    with world.db.engine.begin() as conn:
        conn.execute(update(tables.snapshots).where(tables.snapshots.c.id == snapshot_id).values(changes))


def owned_by_both(world: World) -> tuple[str, str]:
    first = world.manage_snapshot(world.register_volume(DISK, host=FIRST), DAILY)
    second = world.manage_snapshot(world.register_volume(DISK, host=SECOND), WEEKLY)
    own(world, second, first)
    return first, second


def test_object_of_two_servers_records_is_reported_at_each_server(world: World) -> None:
    first, second = owned_by_both(world)

    [there] = reconciliation.differences(world.db, FIRST, world.backends[FIRST])
    here = reconciliation.differences(world.db, SECOND, world.backends[SECOND])

    assert (there.kind, there.snapshot.id, second in there.text) == (Kind.TWICE, first, True)
    assert [(each.kind, first in each.text, each.binding) for each in here] == [
        (Kind.RENAMED, True, None),
        (Kind.TWICE, True, None),
    ]


def test_object_that_has_the_name_of_another_record_is_not_renamed_back(world: World, folder: Path) -> None:
    first = world.manage_snapshot(world.register_volume(DISK, host=FIRST), DAILY)
    second = world.manage_snapshot(world.register_volume(DISK, host=SECOND), WEEKLY)
    (folder / f"{DISK}@snapshot-{second}").unlink()
    (folder / f"{DISK}@snapshot-{first}").rename(folder / f"{DISK}@snapshot-{second}")

    [difference] = reconciliation.differences(world.db, FIRST, world.backends[FIRST])

    assert (difference.kind, difference.binding) == (Kind.RENAMED, None)
    assert f"managed as {second} too" in difference.text


def test_snapshot_is_not_certain_to_be_gone_if_the_backend_is_another_storage(world: World, folder: Path) -> None:
    snapshot_id = world.manage_snapshot(world.register_volume(DISK, host=FIRST), DAILY)
    shutil.move(folder, folder.with_name("unmounted"))
    folder.mkdir()

    [difference] = reconciliation.differences(world.db, FIRST, world.backends[FIRST])

    assert (difference.kind, difference.snapshot.id, difference.certain) == (Kind.VANISHED, snapshot_id, False)
    assert "another storage" in difference.text


def test_snapshot_is_certain_to_be_gone_if_the_backend_is_the_same_storage(world: World, folder: Path) -> None:
    snapshot_id = world.manage_snapshot(world.register_volume(DISK, host=FIRST), DAILY)
    (folder / f"{DISK}@snapshot-{snapshot_id}").unlink()

    [difference] = reconciliation.differences(world.db, FIRST, world.backends[FIRST])

    assert (difference.kind, difference.certain) == (Kind.VANISHED, True)
