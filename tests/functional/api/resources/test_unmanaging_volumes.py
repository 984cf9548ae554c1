"""Unmanaging volumes over HTTP."""

import logging
import uuid
from datetime import timedelta
from typing import Any

import pytest

from snapmanage.testing.waiting import until
from tests.functional.client import fault
from tests.functional.world import VOLUME, World

SNAPSHOT = "volume-1-snapshot-1"


def test_unmanaged_volume_is_not_found_and_can_be_registered_again(world: World) -> None:
    volume_id = world.register_volume(name="disk")

    answer = world.client.unmanage_volume(volume_id)

    assert (answer.status_code, answer.content) == (202, b"")
    assert fault(world.client.get(f"volumes/{volume_id}")) == (
        404,
        "itemNotFound",
        f"Volume {volume_id} could not be found.",
    )
    again = world.register_volume(name="disk")
    assert [each["id"] for each in world.client.get("volumes?name=disk").json()["volumes"]] == [again]


def test_volume_with_a_managed_snapshot_is_not_unmanaged(world: World) -> None:
    volume_id = world.register_volume()
    snapshot_id = world.manage_snapshot(volume_id, SNAPSHOT)

    answer = world.client.unmanage_volume(volume_id)

    assert fault(answer) == (
        400,
        "badRequest",
        f"Volume {volume_id} has 1 snapshot ({snapshot_id}); a volume can be unmanaged when it has none, so unmanage "
        "its snapshots first, those in error too.",
    )
    world.client.unmanage(snapshot_id)
    world.await_unmanaged(snapshot_id)
    assert world.client.unmanage_volume(volume_id).status_code == 202


@pytest.mark.parametrize("nothing", [None, {}])
def test_unmanage_accepts_null_and_an_empty_object(world: World, nothing: Any) -> None:
    path = f"volumes/{world.register_volume()}/action"

    assert world.client.post(path, json={"os-unmanage": nothing}).status_code == 202
    assert world.client.post(path, json={"os-unmanage": nothing}).status_code == 404


def test_unknown_volume_is_not_found(shared: World) -> None:
    volume_id = str(uuid.uuid4())

    for answer in (shared.client.unmanage_volume(volume_id), shared.client.retry_volume(volume_id)):
        assert fault(answer) == (404, "itemNotFound", f"Volume {volume_id} could not be found.")


def test_volume_in_error_is_unmanaged_and_its_name_is_unambiguous_again(world: World) -> None:
    mistyped = world.client.manage_volume("volume-l", name="disk").json()["volume"]["id"]
    until(lambda: world.client.volume(mistyped)["status"] == "error", "the volume to fail")
    right = world.register_volume(name="disk")

    assert world.client.unmanage_volume(mistyped).status_code == 202

    assert [each["id"] for each in world.client.get("volumes?name=disk").json()["volumes"]] == [right]


def test_volume_of_a_server_that_is_down_is_unmanaged(world: World) -> None:
    world.bus.away = True
    volume_id = world.client.manage_volume(VOLUME).json()["volume"]["id"]
    world.clock.advance(seconds=timedelta(days=2).total_seconds())

    assert world.client.unmanage_volume(volume_id).status_code == 202

    world.bus.away = False
    world.await_empty_outbox()
    assert world.client.get(f"volumes/{volume_id}").status_code == 404


def test_server_that_looks_up_an_unmanaged_volume_does_not_bring_it_back(world: World) -> None:
    with world.hang_at("find") as stuck:
        volume_id = world.client.manage_volume(VOLUME).json()["volume"]["id"]
        stuck.reached()

        assert world.client.unmanage_volume(volume_id).status_code == 202

    again = world.register_volume()
    assert world.client.get(f"volumes/{volume_id}").status_code == 404
    assert again != volume_id


def test_repeat_of_a_registration_shows_that_the_volume_was_unmanaged(world: World) -> None:
    def register() -> Any:
        body = {"volume": {"host": "storage-1@fast", "ref": VOLUME}}
        return world.client.post("os-volume-manage", json=body, headers={"Idempotency-Key": "once"})

    volume_id = register().json()["volume"]["id"]
    world.client.unmanage_volume(volume_id)

    repeated = register()

    assert repeated.status_code == 202
    shown = repeated.json()["volume"]
    assert (shown["id"], shown["status"]) == (volume_id, "deleted")


def test_log_names_the_unmanaged_volume(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    volume_id = world.register_volume()

    world.client.unmanage_volume(volume_id)

    assert f"Volume unmanaged: volume={volume_id}" in caplog.text
