"""Registering volumes that exist, over HTTP."""

from pathlib import Path
from typing import Any

import pytest

from snapmanage.core.backend import GIB
from snapmanage.core.reference import Reference
from snapmanage.testing.waiting import until
from tests.functional.callers import by_token, token
from tests.functional.client import PROJECT, SERVER, fault
from tests.functional.world import OTHER_PROJECT, VOLUME, World, running_world

SNAPSHOT = "volume-1-snapshot-1"
FIELDS = {
    "attachments",
    "availability_zone",
    "bootable",
    "consistencygroup_id",
    "created_at",
    "description",
    "encrypted",
    "id",
    "links",
    "metadata",
    "multiattach",
    "name",
    "os-vol-tenant-attr:tenant_id",
    "replication_status",
    "size",
    "snapshot_id",
    "source_volid",
    "status",
    "updated_at",
    "user_id",
    "volume_type",
}
# Fields for administrators only.
WHERE = {
    "migration_status",
    "os-vol-host-attr:host",
    "os-vol-mig-status-attr:migstat",
    "os-vol-mig-status-attr:name_id",
}
SINCE = {
    13: {"group_id"},
    21: {"provider_id"},
    48: {"service_uuid", "shared_targets"},
    61: {"cluster_name"},
    63: {"volume_type_id"},
    64: {"encryption_key_id"},
    65: {"consumes_quota"},
}


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
    world.register_volume()

    again = world.client.manage_volume(VOLUME)

    assert fault(again)[:2] == (409, "conflictingRequest")


def test_unknown_volume_ends_in_error_with_the_reason(world: World) -> None:
    volume = world.client.manage_volume("nowhere").json()["volume"]["id"]

    until(lambda: world.client.volume(volume)["status"] == "error", "the volume to be in error")
    [message] = world.client.messages(volume)
    assert (message["event_id"], message["resource_type"]) == ("VOLUME_MANAGE_SOURCE_NOT_FOUND", "VOLUME")
    assert "nowhere" in message["user_message"]


def test_snapshot_is_not_registered_as_a_volume(world: World) -> None:
    volume = world.client.manage_volume(SNAPSHOT).json()["volume"]["id"]

    until(lambda: world.client.volume(volume)["status"] == "error", "the volume to be in error")
    assert world.client.messages(volume)[0]["event_id"] == "VOLUME_MANAGE_NOT_A_VOLUME"


def test_additional_fields_of_common_clients_are_ignored(world: World) -> None:
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
def test_malformed_volume_is_refused(shared: World, fields: dict[str, Any], status: int) -> None:
    answer = shared.client.post("os-volume-manage", json={"volume": {"host": SERVER, "ref": "x"} | fields})

    assert fault(answer)[0] == status


@pytest.mark.parametrize("minor", sorted({0, 71} | {each for since in SINCE for each in (since - 1, since)}))
def test_volume_has_exactly_the_fields_of_its_version(shared: World, volume_id: str, minor: int) -> None:
    expected = FIELDS | WHERE | {name for since, names in SINCE.items() if since <= minor for name in names}

    shown = shared.client.get(f"volumes/{volume_id}", version=f"3.{minor}").json()["volume"]
    [listed] = shared.client.get("volumes/detail?status=available", version=f"3.{minor}").json()["volumes"]

    assert shown.keys() == expected
    assert listed == shown


def test_host_of_a_volume_is_shown_only_to_administrators(tmp_path: Path) -> None:
    with running_world(tmp_path, authenticate=by_token()) as world:
        asked = {"volume": {"host": SERVER, "ref": VOLUME}}
        made = world.client.post("os-volume-manage", json=asked, headers=token("admin", PROJECT)).json()["volume"]

        shown = [
            world.client.get(path, version="3.71", headers=token(role, PROJECT)).json()
            for role in ("admin", "reader")
            for path in (f"volumes/{made['id']}", "volumes/detail")
        ]

    fields = [(each.get("volume") or each["volumes"][0]).keys() for each in shown]
    assert fields[0] == fields[1]
    assert fields[2] == fields[3] == fields[0] - WHERE - {"provider_id", "cluster_name"}


def test_volume_of_another_project_is_not_found(shared: World, volume_id: str) -> None:
    stranger = shared.another_client(OTHER_PROJECT)

    answer = stranger.get(f"volumes/{volume_id}")

    stranger.close()
    assert fault(answer)[:2] == (404, "itemNotFound")


@pytest.mark.parametrize(("prefix", "bookmark"), [(f"/v3/{PROJECT}", f"/{PROJECT}"), ("/v3", "")])
def test_links_to_a_volume_have_a_project_if_the_request_had_one(
    shared: World, volume_id: str, prefix: str, bookmark: str
) -> None:
    shown = shared.client.get(f"{prefix}/volumes/{volume_id}", headers={"X-Auth-Token": f"ann:{PROJECT}"})

    assert shown.json()["volume"]["links"] == [
        {"rel": "self", "href": f"{shared.client.root}{prefix}/volumes/{volume_id}"},
        {"rel": "bookmark", "href": f"{shared.client.root}{bookmark}/volumes/{volume_id}"},
    ]
