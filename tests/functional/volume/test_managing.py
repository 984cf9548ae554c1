"""A server manages and unmanages snapshots, each once."""

import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from snapmanage.bus import Delivery
from snapmanage.core.lists.paging import ListQuery
from snapmanage.core.records import Operation, Snapshot
from snapmanage.core.reference import Reference
from snapmanage.drivers.fake import FakeDriver
from snapmanage.drivers.file import FileDriver
from snapmanage.store import records
from snapmanage.testing.waiting import until
from snapmanage.volume.limits import BackendLimits
from tests.functional.client import SERVER
from tests.functional.parts import NAMES
from tests.functional.volume.helpers import (
    OTHERS,
    SNAPSHOT,
    CountingDriver,
    publish,
    request,
    snapshot_names,
    upstream_request,
)
from tests.functional.world import RULES, World, running_world


def test_one_reference_on_two_backends_is_two_objects(tmp_path: Path) -> None:
    backends = {"storage-1@a": FakeDriver(), "storage-1@b": FakeDriver()}
    with running_world(tmp_path, backends) as world:
        made = [world.manage_snapshot(world.register_volume(host=server), SNAPSHOT) for server in backends]

        listed = {server: {entry["cinder_id"] for entry in world.client.manageable(server)} for server in backends}

        assert listed == {"storage-1@a": {made[0], None}, "storage-1@b": {made[1], None}}


def test_second_delivery_of_a_request_is_carried_out_once(tmp_path: Path) -> None:
    driver = CountingDriver()
    with running_world(tmp_path, {SERVER: driver}) as world:
        volume = world.register_volume()
        snapshot_id = world.manage_snapshot(volume, SNAPSHOT)

        publish(world, *[request("manage_snapshot", snapshot_id=snapshot_id)] * 3)

        world.manage_snapshot(volume, OTHERS[0])
        assert world.record(snapshot_id).claim_number == 1
        assert len(driver.renames) == 2


def test_late_repeat_of_a_manage_does_not_hide_an_unmanage_in_its_batch(world: World) -> None:
    snapshot_id = world.manage_snapshot(world.register_volume(), SNAPSHOT)
    world.bus.away = True
    world.client.unmanage(snapshot_id)
    world.bus.away = False

    publish(
        world,
        request("unmanage_snapshot", snapshot_id=snapshot_id),
        request("manage_snapshot", snapshot_id=snapshot_id),
    )

    world.await_unmanaged(snapshot_id)


@pytest.mark.parametrize("operation", Operation)
def test_cast_to_the_wrong_server_is_carried_out_by_the_server_of_the_record(
    tmp_path: Path, operation: Operation
) -> None:
    owner, other = FakeDriver(), FakeDriver()
    with running_world(tmp_path, {"storage-1@owner": owner, "storage-1@other": other}) as world:
        volume, untouched = world.register_volume(host="storage-1@owner"), other.list_snapshots()
        if operation is Operation.UNMANAGE:
            snapshot_id = world.manage_snapshot(volume, SNAPSHOT)
        else:
            world.bus.away = True
            snapshot_id = world.request_manage(volume, SNAPSHOT)
            world.bus.away = False

        cast = request(f"{operation.value}_snapshot", snapshot_id=snapshot_id)
        world.bus.deliver("storage-1@other", Delivery(NAMES.volume_topic, cast))

        if operation is Operation.MANAGE:
            assert world.await_settled(snapshot_id)["status"] == "available"
        else:
            world.await_unmanaged(snapshot_id)
        renamed = f"snapshot-{snapshot_id}" in {each.name for each in owner.list_snapshots()}
        assert renamed == (operation is Operation.MANAGE)
        assert other.list_snapshots() == untouched


@pytest.mark.parametrize("queue", NAMES.server_queues(SERVER))
def test_every_queue_of_a_server_is_served(world: World, queue: str) -> None:
    publish(world, upstream_request(), queue=queue)

    assert "snapshot.manage.end" in world.audited_events(str(uuid.UUID(int=5)), ".end")


def test_files_are_managed_and_unmanaged(tmp_path: Path) -> None:
    folder = tmp_path / "backend"
    folder.mkdir()
    for name in ("disk1.img", "disk1.img@daily"):
        (folder / name).write_text(name)
    with running_world(tmp_path, {SERVER: FileDriver(str(folder))}) as world:
        snapshot_id = world.manage_snapshot(world.register_volume("disk1.img"), "disk1.img@daily")
        renamed = folder / f"disk1.img@snapshot-{snapshot_id}"
        assert renamed.read_text() == "disk1.img@daily"

        world.client.unmanage(snapshot_id)

        world.await_unmanaged(snapshot_id)
        assert {path.name for path in folder.iterdir()} == {"disk1.img", "disk1.img@daily"}


def test_empty_template_renames_nothing(tmp_path: Path) -> None:
    driver = CountingDriver()
    with running_world(tmp_path, {SERVER: driver}, replace(RULES, name_template="")) as world:
        snapshot_id = world.manage_snapshot(world.register_volume(), SNAPSHOT)

        assert (driver.renames, world.client.operation(snapshot_id)["backend_name"]) == ([], SNAPSHOT)
        assert driver.find_snapshot(Reference.named(SNAPSHOT)).identity == world.record(snapshot_id).backend_id


def test_many_requests_at_the_same_time_all_succeed(tmp_path: Path) -> None:
    driver = FakeDriver(fake_snapshots=60)
    with running_world(
        tmp_path, {SERVER: driver}, backend_limits=BackendLimits(driver_calls=3, batch=7, scan_interval_seconds=0.02)
    ) as world:
        volume = world.register_volume()
        made = [world.request_manage(volume, f"volume-1-snapshot-{number}") for number in range(1, 61)]

        def left() -> int:
            with world.db.read() as conn:
                return records.count(conn, Snapshot, ListQuery(world.client.project, {"status": "creating"}))

        until(lambda: left() == 0, "all to be settled")

        assert {world.client.snapshot(snapshot_id)["status"] for snapshot_id in made} == {"available"}
        assert snapshot_names(world) == {f"snapshot-{snapshot_id}" for snapshot_id in made}
