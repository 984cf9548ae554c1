"""Retrying failed operations over HTTP."""

from datetime import timedelta

import pytest

from snapmanage.core.backend import Unsafe
from snapmanage.testing.waiting import until
from tests.functional.audit.messages import findings
from tests.functional.client import SERVER, fault
from tests.functional.world import VOLUME, World

LATE = "volume-1-snapshot-late"
SNAPSHOT = "volume-1-snapshot-1"


def failed_snapshot(world: World) -> str:
    """Return the id of a snapshot whose object the backend doesn't have."""
    snapshot_id = world.request_manage(world.register_volume(), LATE)
    assert world.await_settled(snapshot_id)["status"] == "error"
    return snapshot_id


def test_retried_snapshot_is_available_and_its_audit_log_is_complete(world: World) -> None:
    snapshot_id = failed_snapshot(world)
    world.driver.add_snapshot(VOLUME, LATE)

    answer = world.client.retry(snapshot_id)

    assert (answer.status_code, answer.content) == (202, b"")
    until(lambda: world.client.snapshot(snapshot_id)["status"] == "available", "the retry to succeed")
    assert world.audited_events(snapshot_id, "manage.end") == [
        f"snapshot.manage.{step}" for step in ("start", "error", "start", "end")
    ]
    assert world.client.operation(snapshot_id)["reason"] is None
    world.client.unmanage(snapshot_id)
    world.await_unmanaged(snapshot_id)
    world.audited_events(snapshot_id, "unmanage.end")
    assert findings(world.db) == []


def test_failed_unmanage_is_retried(world: World) -> None:
    snapshot_id = world.manage_snapshot(world.register_volume(), SNAPSHOT)
    world.driver.mark(f"snapshot-{snapshot_id}", Unsafe.IN_USE)
    world.client.unmanage(snapshot_id)
    until(lambda: world.client.snapshot(snapshot_id)["status"] == "error", "the unmanage to fail")
    world.driver.mark(f"snapshot-{snapshot_id}", None)

    assert world.client.retry(snapshot_id).status_code == 202

    world.await_unmanaged(snapshot_id)
    world.audited_events(snapshot_id, "unmanage.end")
    assert SNAPSHOT in {seen.name for seen in world.driver.list_snapshots()}
    assert findings(world.db) == []


def test_failed_volume_is_retried(world: World) -> None:
    volume_id = world.client.manage_volume("late").json()["volume"]["id"]
    until(lambda: world.client.volume(volume_id)["status"] == "error", "the volume to fail")
    world.driver.add_volume("late")

    answer = world.client.retry_volume(volume_id)

    assert (answer.status_code, answer.content) == (202, b"")
    until(lambda: world.client.volume(volume_id)["status"] == "available", "the retry to succeed")


def test_record_that_is_not_in_error_is_not_retried(world: World) -> None:
    volume_id = world.register_volume()
    snapshot_id = world.manage_snapshot(volume_id, SNAPSHOT)

    answers = {"Snapshot": world.client.retry(snapshot_id), "Volume": world.client.retry_volume(volume_id)}

    for kind, answer in answers.items():
        record_id = snapshot_id if kind == "Snapshot" else volume_id
        text = f"{kind} {record_id} is available; only an operation that has ended in error can be retried."
        assert fault(answer) == (400, "badRequest", text)


def test_retry_of_an_object_that_is_managed_meanwhile_is_a_conflict_with_the_owner(world: World) -> None:
    snapshot_id = failed_snapshot(world)
    world.driver.add_snapshot(VOLUME, LATE)
    owner = world.manage_snapshot(world.record(snapshot_id).volume_id, LATE)

    status, kind, text = fault(world.client.retry(snapshot_id))
    assert (status, kind) == (409, "conflictingRequest")
    assert text.endswith(f"is managed or being managed already: it is snapshot {owner}")


def test_failed_snapshot_of_a_server_that_is_down_is_removed_and_not_retried(world: World) -> None:
    snapshot_id = failed_snapshot(world)
    world.clock.advance(seconds=timedelta(days=2).total_seconds())

    status, kind, text = fault(world.client.retry(snapshot_id))
    assert (status, kind) == (400, "badRequest")
    assert text.startswith(
        f"Service is unavailable at this time. The server {SERVER} is down: its last heartbeat is of "
    )
    assert world.client.unmanage(snapshot_id).status_code == 202

    assert world.client.get(f"snapshots/{snapshot_id}").status_code == 404
    events = world.audited_events(snapshot_id, "unmanage.end")
    assert events[2:] == ["snapshot.unmanage.start", "snapshot.unmanage.end"]
    assert findings(world.db) == []


def test_log_names_the_retried_snapshot(world: World, caplog: pytest.LogCaptureFixture) -> None:
    snapshot_id = failed_snapshot(world)
    caplog.set_level("INFO")

    world.client.retry(snapshot_id)

    assert f"Retry requested: snapshot={snapshot_id}" in caplog.text
