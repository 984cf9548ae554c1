"""Casts of an upstream API that keeps its own records."""

import uuid

from snapmanage.core.records import Status
from snapmanage.testing.waiting import until
from snapmanage.volume.arguments import LARGEST_METADATA, MOST_PAIRS
from tests.functional.volume.helpers import SNAPSHOT, publish, quarantined, request, snapshot_names, upstream_request
from tests.functional.world import World


def test_request_of_an_upstream_with_its_own_records_is_carried_out(world: World) -> None:
    snapshot_id = str(uuid.UUID(int=5))

    publish(world, upstream_request(name="daily", description="d", metadata={"a": "b"}, user_id="u"))

    assert world.audited_events(snapshot_id, ".end") == ["snapshot.manage.start", "snapshot.manage.end"]
    record = world.record(snapshot_id)
    assert (record.status, record.name, record.description) == (Status.AVAILABLE, "daily", "d")
    assert (record.requester.project_id, record.requester.user_id) == ("p" * 32, "u")
    assert f"snapshot-{snapshot_id}" in snapshot_names(world)


def test_request_with_the_most_metadata_ends_with_events_that_the_audit_log_accepts(world: World) -> None:
    snapshot_id = str(uuid.UUID(int=5))

    pairs = dict.fromkeys([f"{number:05}" for number in range(MOST_PAIRS)], "v")
    last = "x" * (LARGEST_METADATA - sum(len(key) + len(value) for key, value in pairs.items()) + len(pairs["00000"]))
    publish(world, upstream_request(metadata=pairs | {"00000": last}))

    assert world.audited_events(snapshot_id, ".end") == ["snapshot.manage.start", "snapshot.manage.end"]
    assert quarantined(world) == []


def test_upstream_can_unmanage_its_snapshot(world: World) -> None:
    snapshot_id = str(uuid.UUID(int=5))
    publish(world, upstream_request())
    world.audited_events(snapshot_id, "manage.end")

    publish(world, request("unmanage_snapshot", snapshot_id=snapshot_id))

    assert world.audited_events(snapshot_id, "unmanage.end")[2:] == ["snapshot.unmanage.start", "snapshot.unmanage.end"]
    assert SNAPSHOT in snapshot_names(world)


def test_upstream_that_unmanages_its_snapshot_too_early_gets_an_error_event(world: World) -> None:
    snapshot_id = str(uuid.UUID(int=5))
    with world.hang_at("rename") as stuck:
        publish(world, upstream_request())
        stuck.reached()

        publish(world, request("unmanage_snapshot", snapshot_id=snapshot_id))

        assert world.audited_events(snapshot_id, "unmanage.error")
    assert world.audited_events(snapshot_id, "manage.end")
    [kept] = quarantined(world)
    assert "it can be unmanaged when" in kept.reason


def test_upstream_that_requests_one_object_twice_owns_it_once(world: World) -> None:
    first, second = str(uuid.UUID(int=5)), str(uuid.UUID(int=7))
    publish(world, upstream_request(snapshot_id=first))
    world.audited_events(first, ".end")

    publish(world, upstream_request(snapshot_id=second, ref={"source-name": f"snapshot-{first}"}))

    assert world.audited_events(second, ".error") == ["snapshot.manage.start", "snapshot.manage.error"]
    assert world.record(second).reason_code == "already_managed"


def test_snapshot_with_the_id_of_a_failed_volume_fails_too_and_delays_no_other(world: World) -> None:
    """Both leave a message to their users; with one id for both, the worker could never settle the snapshot."""
    volume = world.register_volume()
    both = world.client.manage_volume("nothing").json()["volume"]["id"]
    until(lambda: world.client.volume(both)["status"] == "error", "the volume to fail")

    publish(world, upstream_request(snapshot_id=both, volume_id=volume, ref="nothing"))
    other = world.manage_snapshot(volume, SNAPSHOT)

    assert world.audited_events(both, ".error") == ["snapshot.manage.start", "snapshot.manage.error"]
    assert f"snapshot-{other}" in snapshot_names(world)
