"""Unmanaging snapshots over HTTP."""

import uuid
from typing import Any

import pytest

from snapmanage.testing.waiting import until
from tests.functional.client import fault
from tests.functional.world import VOLUME, World

SNAPSHOT = "volume-1-snapshot-1"


def test_unmanaged_snapshot_has_its_old_name_and_is_not_found(world: World) -> None:
    snapshot_id = world.manage_snapshot(world.register_volume(), SNAPSHOT)

    answer = world.client.unmanage(snapshot_id)

    assert (answer.status_code, answer.content) == (202, b"")
    world.await_unmanaged(snapshot_id)
    assert SNAPSHOT in {seen.name for seen in world.driver.list_snapshots()}
    assert world.client.get("snapshots").json() == {"snapshots": []}
    assert world.audited_events(snapshot_id, "unmanage.end")[2:] == ["snapshot.unmanage.start", "snapshot.unmanage.end"]


def test_second_unmanage_is_not_found(world: World) -> None:
    snapshot_id = world.manage_snapshot(world.register_volume(), SNAPSHOT)
    world.client.unmanage(snapshot_id)
    world.await_unmanaged(snapshot_id)

    again = world.client.unmanage(snapshot_id)

    assert fault(again) == (404, "itemNotFound", f"Snapshot {snapshot_id} could not be found.")


def test_unmanaged_snapshot_can_be_managed_again(world: World) -> None:
    volume = world.register_volume()
    first = world.manage_snapshot(volume, SNAPSHOT)
    world.client.unmanage(first)
    world.await_unmanaged(first)

    second = world.request_manage(volume, SNAPSHOT)

    assert world.await_settled(second)["status"] == "available"


def test_snapshot_in_progress_is_not_unmanaged(world: World) -> None:
    volume = world.register_volume()
    world.bus.away = True
    snapshot_id = world.request_manage(volume, SNAPSHOT)

    answer = world.client.unmanage(snapshot_id)

    status, name, text = fault(answer)
    assert (status, name) == (400, "badRequest")
    assert "creating" in text


def test_snapshot_in_error_can_be_removed(world: World) -> None:
    snapshot_id = world.request_manage(world.register_volume(), "nowhere")
    world.await_settled(snapshot_id)

    answer = world.client.unmanage(snapshot_id)

    assert answer.status_code == 202
    world.await_unmanaged(snapshot_id)


def test_snapshot_that_can_not_be_unmanaged_stays_owned_with_the_reason(world: World) -> None:
    volume = world.register_volume()
    snapshot_id = world.manage_snapshot(volume, SNAPSHOT)
    world.driver.add_snapshot(VOLUME, SNAPSHOT)

    world.client.unmanage(snapshot_id)

    assert until(lambda: world.client.snapshot(snapshot_id)["status"] == "error", "the unmanage to fail")
    assert world.client.operation(snapshot_id)["reason_code"] == "name_taken"
    assert fault(world.client.manage(volume, SNAPSHOT))[0] == 409


@pytest.mark.parametrize(
    "body",
    [
        {"os-unmanage": {"force": True}},
        {"os-unmanage": ""},
        {"os-reset_status": {"status": "available"}},
        {"os-unmanage": None, "os-delete": None},
        {"os-unmanage": None, "retry": None},
        {},
        [],
    ],
)
def test_other_actions_are_refused(shared: World, body: Any) -> None:
    answer = shared.client.post(f"snapshots/{uuid.uuid4()}/action", json=body)

    status, name, text = fault(answer)
    assert (status, name) == (400, "badRequest")
    assert "os-unmanage" in text


@pytest.mark.parametrize("kind", ["snapshot", "volume"])
@pytest.mark.parametrize("action", ["os-reset_status", "os-force_delete", "os-update_snapshot_status", "os-extend"])
def test_refusal_of_another_action_names_the_actions_that_exist(shared: World, kind: str, action: str) -> None:
    answer = shared.client.post(f"{kind}s/{uuid.uuid4()}/action", json={action: {"status": "available"}})

    assert fault(answer)[2] == (
        'Invalid input for field/attribute body. Send one action: {"os-unmanage": null} or {"retry": null}; '
        f"a {kind} has no others, and snapmanage never deletes anything on a backend."
    )


@pytest.mark.parametrize("nothing", [None, {}])
def test_unmanage_accepts_null_and_an_empty_object(world: World, nothing: Any) -> None:
    snapshot_id = world.manage_snapshot(world.register_volume(), SNAPSHOT)

    answer = world.client.post(f"snapshots/{snapshot_id}/action", json={"os-unmanage": nothing})

    assert answer.status_code == 202
