"""Registering volumes that exist, over HTTP."""

from typing import Any

import pytest

from snapmanage.core.backend import GIB
from snapmanage.core.reference import Reference
from tests.functional.world import (
    SERVER,
    VOLUME,
    World,
    fault,
)
from tests.waiting import until

SNAPSHOT = "volume-1-snapshot-1"


def test_registered_volume_becomes_available_with_its_size_and_keeps_its_name(world: World) -> None:
    world.driver.add_volume("volume-2", 5 * GIB - 1)

    answer = world.client.manage_volume({"source-name": "volume-2"}, host=f"{SERVER}#pool", name="disk")

    assert answer.status_code == 202
    asked = answer.json()["volume"]
    assert (asked["status"], asked["name"]) == ("creating", "disk")
    until(lambda: world.client.volume(asked["id"])["status"] == "available", "the volume to be available")
    shown = world.client.volume(asked["id"])
    assert (shown["size"], shown["os-vol-host-attr:host"]) == (5, f"{SERVER}#pool")
    assert world.driver.find_volume(Reference.named("volume-2")).size_bytes == 5 * GIB - 1


def test_volume_is_registered_once(world: World) -> None:
    world.known_volume()

    again = world.client.manage_volume(VOLUME)

    assert fault(again)[:2] == (409, "conflictingRequest")


def test_volume_that_is_not_there_ends_in_error_and_says_why(world: World) -> None:
    volume = world.client.manage_volume("nowhere").json()["volume"]["id"]

    until(lambda: world.client.volume(volume)["status"] == "error", "the volume to be in error")
    [told] = world.client.messages(volume)
    assert (told["event_id"], told["resource_type"]) == ("VOLUME_MANAGE_SOURCE_NOT_FOUND", "VOLUME")
    assert "nowhere" in told["user_message"]


def test_snapshot_is_no_volume(world: World) -> None:
    volume = world.client.manage_volume(SNAPSHOT).json()["volume"]["id"]

    until(lambda: world.client.volume(volume)["status"] == "error", "the volume to be in error")
    assert world.client.messages(volume)[0]["event_id"] == "VOLUME_MANAGE_NOT_A_VOLUME"


def test_fields_clients_send_along_are_taken_and_mean_nothing(world: World) -> None:
    sent: dict[str, Any] = {"volume_type": None, "availability_zone": "nova", "bootable": False, "metadata": None}

    answer = world.client.manage_volume(VOLUME, **sent)

    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"host": "nobody@nowhere"}, 404),
        ({"host": "nobody"}, 404),
        ({"host": "a@b@c"}, 400),
        ({"host": ""}, 400),
        ({"ref": {}}, 400),
        ({"size": 1}, 400),
        ({"cluster": "c"}, 400),
    ],
)
def test_volumes_that_can_not_be_meant_are_refused(shared: World, fields: dict[str, Any], status: int) -> None:
    answer = shared.client.post("os-volume-manage", json={"volume": {"host": SERVER, "ref": "x"} | fields})

    assert fault(answer)[0] == status
