"""Casts and calls of Cinder's API."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from snapmanage.core import outbox
from snapmanage.core.records import Status, Volume
from snapmanage.drivers.fake import FakeDriver
from snapmanage.store import records
from tests.examples import sample_body
from tests.functional.client import SERVER
from tests.functional.volume.helpers import publish, quarantined, request, snapshot_names
from tests.functional.world import RULES, World, running_world

# The objects of the recorded messages.
SAMPLE = "d6d925e0-eec3-4905-993c-4bba6f7f57c0"
SAMPLE_VOLUME = "volume-916bf7fc-22b0-4089-9528-bec5083ba14e"
SAMPLE_NAME = "backend-snap-0000001"


@pytest.fixture
def upstream_world(tmp_path: Path) -> Iterator[World]:
    """Yield a world with the backend of Cinder's messages, whose events are sent in both dialects."""
    driver = FakeDriver(fake_volumes=0)
    driver.add_volume(SAMPLE_VOLUME)
    driver.add_snapshot(SAMPLE_VOLUME, SAMPLE_NAME)
    with running_world(tmp_path, {SERVER: driver}, replace(RULES, both_dialects=True)) as world:
        yield world


def test_cinder_s_casts_are_carried_out(upstream_world: World) -> None:
    world = upstream_world
    publish(world, sample_body("cast_manage_existing_snapshot"))
    assert world.audited_events(SAMPLE, "manage.end") == ["snapshot.manage.start", "snapshot.manage.end"]
    managed = world.record(SAMPLE)
    assert snapshot_names(world) == {f"snapshot-{SAMPLE}"}

    publish(world, sample_body("cast_delete_snapshot_unmanage_only"))

    assert world.audited_events(SAMPLE, "unmanage.end")[2:] == ["snapshot.unmanage.start", "snapshot.unmanage.end"]
    assert snapshot_names(world) == {SAMPLE_NAME}
    assert (managed.name, managed.description, managed.metadata) == ("s1", "d1", {"k": "v"})
    assert (managed.requester.project_id, managed.requester.user_id) == ("a" * 32, "b" * 32)
    assert managed.requester.request_id == "req-0ff386a5-a97a-4a66-adcd-f3803f169683"
    assert world.record(SAMPLE).requester.request_id == "req-e8076d53-d4c8-439f-a207-4395493a272e"


def test_cinder_s_cast_with_a_bad_reference_ends_in_error(upstream_world: World) -> None:
    publish(upstream_world, sample_body("cast_manage_existing_snapshot_bad_ref"))

    assert upstream_world.audited_events("c31a235d-8a5b-4460-bd3c-8e40d8254986", ".error") == [
        "snapshot.manage.start",
        "snapshot.manage.error",
    ]


def test_events_are_sent_under_cinder_s_names_too_if_both_dialects_are_configured(upstream_world: World) -> None:
    events = upstream_world.record_events()

    publish(upstream_world, sample_body("cast_manage_existing_snapshot"))
    upstream_world.audited_events(SAMPLE, "manage.end")
    publish(upstream_world, sample_body("cast_delete_snapshot_unmanage_only"))
    upstream_world.audited_events(SAMPLE, "unmanage.end")

    upstream_world.await_empty_outbox()
    for kind in outbox.CINDER_EVENT_TYPES.items():
        assert set(kind) <= set(events)


def test_cast_to_delete_a_snapshot_deletes_nothing(upstream_world: World) -> None:
    world = upstream_world
    publish(world, sample_body("cast_manage_existing_snapshot"))
    world.audited_events(SAMPLE, "manage.end")
    destructive = sample_body("cast_delete_snapshot_unmanage_only").replace(
        b'\\"unmanage_only\\": true', b'\\"unmanage_only\\": false'
    )

    publish(world, destructive)

    assert "snapshot.unmanage.error" in world.audited_events(SAMPLE, "unmanage.error")
    assert world.record(SAMPLE).status is Status.AVAILABLE
    assert snapshot_names(world) == {f"snapshot-{SAMPLE}"}


def test_listing_for_cinder_has_versioned_objects(upstream_world: World) -> None:
    called = json.loads(json.loads(sample_body("call_get_manageable_snapshots"))["oslo.message"])

    entries = upstream_world.bus.call_version(SERVER, called["version"], called["method"], called["args"])

    expected = json.loads(json.loads(sample_body("reply_get_manageable_snapshots"))["oslo.message"])["result"]
    assert entries[0].keys() == expected[0].keys()
    assert entries[0]["versioned_object.name"] == expected[0]["versioned_object.name"]
    assert entries[0]["versioned_object.data"].keys() == expected[0]["versioned_object.data"].keys()


def cast_with_metadata(metadata: dict[str, str], is_admin: bool, name: str) -> bytes:
    """Return the recorded cast of Cinder, for another object, with other metadata and another caller."""
    body = json.loads(sample_body("cast_manage_existing_snapshot"))
    message = json.loads(body["oslo.message"])
    message["_context_is_admin"] = is_admin
    message["args"]["ref"] = {"source-name": name}
    message["args"]["snapshot"]["versioned_object.data"]["metadata"] = metadata
    return json.dumps(body | {"oslo.message": json.dumps(message)}).encode()


SYNCOID = "syncoid_nas_2020-01-27:12:30:01"


@pytest.mark.parametrize(
    ("metadata", "is_admin", "status"),
    [
        ({}, True, Status.ERROR),
        ({"snapmanage:force": "true"}, False, Status.ERROR),
        ({"snapmanage:force": "true"}, True, Status.AVAILABLE),
    ],
)
def test_cast_for_an_object_that_another_tool_needs_requires_an_administrator(
    upstream_world: World, metadata: dict[str, str], is_admin: bool, status: Status
) -> None:
    upstream_world.driver.add_snapshot(SAMPLE_VOLUME, SYNCOID)

    publish(upstream_world, cast_with_metadata(metadata, is_admin, SYNCOID))

    upstream_world.audited_events(SAMPLE, "end" if status is Status.AVAILABLE else ".error")
    record = upstream_world.record(SAMPLE)
    assert (record.status, record.reason_code) == (status, None if status is Status.AVAILABLE else "origin_refuses")
    assert (SYNCOID in snapshot_names(upstream_world)) is (status is Status.ERROR)


def delete_volume(unmanage_only: bool = True) -> bytes:
    """Return Cinder's cast for `cinder unmanage`, which it sends instead of deleting the volume."""
    volume = {
        "versioned_object.name": "Volume",
        "versioned_object.namespace": "cinder",
        "versioned_object.version": "1.9",
        "versioned_object.data": {"id": SAMPLE_VOLUME.removeprefix("volume-")},
    }
    arguments = {"volume": volume, "unmanage_only": unmanage_only, "cascade": False}
    return request("delete_volume", version="3.0", **arguments)


def test_cinder_s_cast_unmanages_a_volume_whose_snapshots_are_unmanaged(upstream_world: World) -> None:
    world = upstream_world
    volume_id = SAMPLE_VOLUME.removeprefix("volume-")
    publish(world, delete_volume())  # no snapshot of it was ever managed here
    publish(world, sample_body("cast_manage_existing_snapshot"))
    world.audited_events(SAMPLE, "manage.end")

    publish(world, delete_volume())

    [kept] = quarantined(world)
    assert f"Volume {volume_id} has 1 snapshot ({SAMPLE})" in kept.reason
    publish(world, sample_body("cast_delete_snapshot_unmanage_only"))
    world.audited_events(SAMPLE, "unmanage.end")

    publish(world, delete_volume(), delete_volume())

    assert volume_of(world, volume_id).status is Status.DELETED
    assert volume_of(world, volume_id).deleted_at is not None
    assert len(quarantined(world)) == 1


def test_cast_to_delete_a_volume_is_refused(upstream_world: World) -> None:
    publish(upstream_world, delete_volume(unmanage_only=False))

    [kept] = quarantined(upstream_world)
    assert "snapmanage never deletes a volume" in kept.reason


def test_registration_that_is_unmanaged_in_the_same_batch_is_not_begun(world: World) -> None:
    world.bus.away = True
    volume_id = world.client.manage_volume("volume-1").json()["volume"]["id"]
    world.bus.away = False
    removal = delete_volume().replace(SAMPLE_VOLUME.removeprefix("volume-").encode(), volume_id.encode())

    publish(world, removal, request("manage_volume", volume_id=volume_id))

    assert volume_of(world, volume_id).due_at is None
    assert volume_of(world, volume_id).status is Status.DELETED


def volume_of(world: World, volume_id: str) -> Volume:
    with world.db.read() as conn:
        found = records.get(conn, Volume, volume_id, deleted=True)
    assert found is not None
    return found


def test_volume_of_an_upstream_api_is_listed_with_its_record(upstream_world: World) -> None:
    publish(upstream_world, sample_body("cast_manage_existing_snapshot"))
    upstream_world.audited_events(SAMPLE, "manage.end")

    [entry] = upstream_world.client.manageable_volumes()

    assert (entry["reason_not_safe"], entry["cinder_id"]) == ("already managed", SAMPLE_VOLUME.removeprefix("volume-"))
