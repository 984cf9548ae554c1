"""Managing snapshots over HTTP: the answer, and the result."""

from pathlib import Path

from snapmanage.core.backend import GIB, Unsafe
from snapmanage.core.quotas import Limits
from snapmanage.drivers.fake import FakeDriver
from snapmanage.manage.rules import Rules
from tests.functional.client import SERVER, fault
from tests.functional.world import OTHER_PROJECT, VOLUME, World, running_world

SNAPSHOT = "volume-1-snapshot-1"
SUMMARY = {"id", "created_at", "updated_at", "name", "description", "volume_id", "status", "size", "metadata"}
DETAIL = SUMMARY | {
    "os-extended-snapshot-attributes:progress",
    "os-extended-snapshot-attributes:project_id",
}


def test_managed_snapshot_becomes_available_under_its_new_name(world: World) -> None:
    volume = world.register_volume()

    answer = world.client.manage(volume, {"source-name": SNAPSHOT}, name="daily", metadata={"a": "b"})

    assert answer.status_code == 202
    asked = answer.json()["snapshot"]
    assert asked.keys() == SUMMARY
    assert (asked["status"], asked["name"], asked["volume_id"]) == ("creating", "daily", volume)
    shown = world.await_settled(asked["id"])
    assert (shown["status"], shown["size"], shown["metadata"]) == ("available", 1, {"a": "b"})
    assert [seen.name for seen in world.driver.list_snapshots() if seen.name.startswith("snapshot-")] == [
        f"snapshot-{asked['id']}"
    ]
    assert world.audited_events(asked["id"], ".end") == ["snapshot.manage.start", "snapshot.manage.end"]


def test_string_is_a_reference_by_name(world: World) -> None:
    snapshot_id = world.manage_snapshot(world.register_volume(), SNAPSHOT)

    assert world.client.operation(snapshot_id)["reference"] == {"source-name": SNAPSHOT}


def test_name_is_stored_unchanged(shared: World, volume_id: str) -> None:
    answer = shared.client.manage(volume_id, "kept-name", name="  \U0001f600 ")

    assert answer.json()["snapshot"]["name"] == "  \U0001f600 "


def test_reference_in_progress_is_refused(world: World) -> None:
    volume = world.register_volume()
    world.bus.away = True
    world.request_manage(volume, SNAPSHOT)

    second = world.client.manage(volume, {"source-name": SNAPSHOT})

    assert fault(second)[:2] == (409, "conflictingRequest")


def test_managed_reference_is_refused(world: World) -> None:
    volume = world.register_volume()
    world.manage_snapshot(volume, SNAPSHOT)

    second = world.client.manage(volume, SNAPSHOT)

    assert fault(second)[:2] == (409, "conflictingRequest")


def test_managed_snapshot_is_refused_by_its_managed_name_too(world: World) -> None:
    volume = world.register_volume()
    first = world.manage_snapshot(volume, SNAPSHOT)

    second = world.client.manage(volume, f"snapshot-{first}")

    assert fault(second)[:2] == (409, "conflictingRequest")
    assert world.client.snapshot(first)["status"] == "available"


def test_unknown_reference_ends_in_error_with_the_reason(world: World) -> None:
    snapshot_id = world.request_manage(world.register_volume(), "nowhere")

    assert world.await_settled(snapshot_id)["status"] == "error"
    operation = world.client.operation(snapshot_id)
    assert (operation["reason_code"], operation["attempt"]) == ("source_not_found", 1)
    assert "nowhere" in operation["reason"]
    [message] = world.client.messages(snapshot_id)
    assert message["user_message"] == f"manage snapshot: {operation['reason']}"
    assert world.audited_events(snapshot_id, ".error") == ["snapshot.manage.start", "snapshot.manage.error"]


def test_failed_reference_can_be_requested_again(world: World) -> None:
    volume = world.register_volume()
    world.await_settled(world.request_manage(volume, "later"))
    world.driver.add_snapshot(VOLUME, "later")

    again = world.request_manage(volume, "later")

    assert world.await_settled(again)["status"] == "available"


def test_snapshot_of_another_volume_is_refused(world: World) -> None:
    world.driver.add_volume("volume-2")
    world.driver.add_snapshot("volume-2", "foreign")

    snapshot_id = world.request_manage(world.register_volume(), "foreign")

    assert world.await_settled(snapshot_id)["status"] == "error"
    assert world.client.operation(snapshot_id)["reason_code"] == "wrong_volume"


def test_snapshot_in_use_is_refused_and_keeps_its_name(world: World) -> None:
    world.driver.mark(SNAPSHOT, Unsafe.IN_USE)

    snapshot_id = world.request_manage(world.register_volume(), SNAPSHOT)

    assert world.await_settled(snapshot_id)["status"] == "error"
    operation = world.client.operation(snapshot_id)
    assert (operation["reason_code"], operation["backend_id"]) == ("in_use", None)
    assert SNAPSHOT in {seen.name for seen in world.driver.list_snapshots()}


def test_request_is_accepted_without_a_bus_and_carried_out_when_the_bus_is_back(world: World) -> None:
    volume = world.register_volume()
    world.bus.away = True

    answer = world.client.manage(volume, SNAPSHOT)

    assert answer.status_code == 202
    world.bus.away = False
    world.clock.advance(minutes=2)
    assert world.await_settled(answer.json()["snapshot"]["id"])["status"] == "available"


def test_volume_that_is_not_available_is_refused(world: World) -> None:
    world.bus.away = True
    volume = world.client.manage_volume(VOLUME).json()["volume"]["id"]

    answer = world.client.manage(volume, SNAPSHOT)

    status, name, text = fault(answer)
    assert (status, name) == (400, "badRequest")
    assert "creating" in text


def test_volume_of_another_project_is_not_found(shared: World, volume_id: str) -> None:
    stranger = shared.another_client(OTHER_PROJECT)

    answer = stranger.manage(volume_id, SNAPSHOT)

    stranger.close()
    assert fault(answer) == (404, "itemNotFound", f"Volume {volume_id} could not be found.")


def test_snapshot_of_another_project_is_not_found(world: World) -> None:
    snapshot_id = world.manage_snapshot(world.register_volume(), SNAPSHOT)
    stranger = world.another_client(OTHER_PROJECT)

    answers = [
        stranger.get(f"snapshots/{snapshot_id}"),
        stranger.get(f"snapshots/{snapshot_id}/operation"),
        stranger.unmanage(snapshot_id),
    ]

    stranger.close()
    assert {fault(answer)[0] for answer in answers} == {404}
    assert world.client.snapshot(snapshot_id)["status"] == "available"


def test_volume_is_visible_only_to_its_project(shared: World, volume_id: str) -> None:
    stranger = shared.another_client(OTHER_PROJECT)

    answer = stranger.get(f"volumes/{volume_id}")

    stranger.close()
    assert fault(answer)[0] == 404


def test_disabled_server_takes_no_new_requests(world: World) -> None:
    volume = world.register_volume()
    world.disable(SERVER, "maintenance")

    answers = [
        world.client.manage(volume, SNAPSHOT),
        world.client.manage_volume("volume-2"),
        world.client.get(f"os-snapshot-manage?host={SERVER}"),
    ]

    text = f"Service is unavailable at this time. The server {SERVER} is disabled: maintenance."
    assert {fault(answer) for answer in answers} == {(400, "badRequest", text)}


def test_overdue_heartbeat_refuses_new_requests(world: World) -> None:
    volume = world.register_volume()
    managed = world.manage_snapshot(volume, SNAPSHOT)
    world.clock.advance(hours=2)

    answers = [
        world.client.manage(volume, "volume-1-snapshot-2"),
        world.client.unmanage(managed),
        world.client.manage_volume("volume-2"),
        world.client.get(f"os-snapshot-manage?host={SERVER}"),
    ]

    text = f"Service is unavailable at this time. The server {SERVER} is down: its last heartbeat is of "
    assert {fault(answer)[:2] for answer in answers} == {(400, "badRequest")}
    assert all(fault(answer)[2].startswith(text) for answer in answers)


def test_quota_counts_managed_snapshots_and_those_in_progress(tmp_path: Path) -> None:
    with running_world(tmp_path, rules=Rules(quota=Limits(snapshots=2, gigabytes=-1))) as world:
        volume = world.register_volume()
        world.manage_snapshot(volume, SNAPSHOT)
        world.bus.away = True
        world.request_manage(volume, "volume-1-snapshot-2")

        third = world.client.manage(volume, "volume-1-snapshot-3")

        assert fault(third)[:2] == (413, "overLimit")


def test_quota_of_gigabytes_counts_the_volumes_size(tmp_path: Path) -> None:
    driver = FakeDriver(fake_volumes=0)
    driver.add_volume(VOLUME, 5 * GIB)
    with running_world(tmp_path, {SERVER: driver}, rules=Rules(quota=Limits(snapshots=-1, gigabytes=4))) as world:
        answer = world.client.manage(world.register_volume(), "any")

        assert fault(answer)[:2] == (413, "overLimit")


def test_quota_of_gigabytes_counts_the_real_size(tmp_path: Path) -> None:
    """Sparse snapshots are larger than their volume, whose size is known at the request."""
    driver = FakeDriver()
    sparse = [f"sparse-{number}" for number in range(3)]
    for name in sparse:
        driver.add_snapshot(VOLUME, name, 500 * GIB)
    with running_world(tmp_path, {SERVER: driver}, rules=Rules(quota=Limits(gigabytes=3))) as world:
        volume = world.register_volume()
        requested = [world.request_manage(volume, name) for name in sparse]
        shown = [world.await_settled(snapshot_id) for snapshot_id in requested]
        world.audited_events(requested[0], ".error")
        path = f"messages?resource_uuid={requested[0]}"
        [message] = world.client.get(path, version="3.5").json()["messages"]

        assert {each["status"] for each in shown} == {"error"}
        assert message["event_id"] == "SNAPSHOT_MANAGE_QUOTA_EXCEEDED"
        assert "500 more requested" in message["user_message"]
        assert set(sparse) <= {found.name for found in driver.list_snapshots()}


def test_failed_records_and_volumes_beyond_their_quotas_are_refused(tmp_path: Path) -> None:
    with running_world(tmp_path, rules=Rules(quota=Limits(volumes=1, failed_records=1))) as world:
        volume = world.register_volume()
        second = world.client.manage_volume("volume-2")
        world.await_settled(world.request_manage(volume, "nowhere"))

        failed = world.client.manage(volume, SNAPSHOT)

        assert fault(second)[:2] == fault(failed)[:2] == (413, "overLimit")
        assert "volumes: 1 of 1 are in use" in fault(second)[2]
        assert "failed_records: 1 of 1 are in use and 1 more requested; unmanage" in fault(failed)[2]


def test_unmanaged_snapshot_is_not_counted(tmp_path: Path) -> None:
    with running_world(tmp_path, rules=Rules(quota=Limits(snapshots=1, gigabytes=-1))) as world:
        volume = world.register_volume()
        first = world.manage_snapshot(volume, SNAPSHOT)
        world.client.unmanage(first)
        world.await_unmanaged(first)

        second = world.client.manage(volume, SNAPSHOT)

        assert second.status_code == 202
