"""`Idempotency-Key` over HTTP: a client that got no answer may repeat its request."""

import json
from pathlib import Path
from typing import Any

import pytest
import requests

from snapmanage.core.quotas import Limits
from snapmanage.manage.rules import Rules
from tests.functional.client import SERVER, Client, fault
from tests.functional.world import OTHER_PROJECT, VOLUME, World, running_world

SNAPSHOT = "volume-1-snapshot-1"
KEY = "8e03978e-40d5-43e8-bc93-6894a57f9324"


def send(client: Client, body: Any, key: str | bytes = KEY, path: str = "os-snapshot-manage") -> requests.Response:
    headers: Any = {"Idempotency-Key": key, "Content-Type": "application/json"}
    return client.post(path, data=body if isinstance(body, str) else json.dumps(body), headers=headers, version="3.8")


def snapshot_body(volume_id: str, ref: Any = SNAPSHOT, **fields: Any) -> dict[str, Any]:
    return {"snapshot": {"volume_id": volume_id, "ref": ref} | fields}


def volume_body(ref: str = VOLUME) -> dict[str, Any]:
    return {"volume": {"host": SERVER, "ref": ref}}


def accepted(answer: requests.Response) -> dict[str, Any]:
    """Return the record of an answer with status 202."""
    assert answer.status_code == 202, answer.text
    [shown] = answer.json().values()
    record: dict[str, Any] = shown
    return record


def test_repeated_request_returns_the_same_snapshot(world: World) -> None:
    body = snapshot_body(world.register_volume(), name="daily")
    world.bus.away = True

    first, again = accepted(send(world.client, body)), accepted(send(world.client, body))

    assert again == first
    assert len(world.client.get("snapshots").json()["snapshots"]) == 1


def test_second_request_without_a_key_is_refused(world: World) -> None:
    volume = world.register_volume()
    accepted(send(world.client, snapshot_body(volume)))

    assert fault(world.client.manage(volume, SNAPSHOT))[:2] == (409, "conflictingRequest")


def test_repeat_shows_the_present_status_of_the_snapshot(world: World) -> None:
    body = snapshot_body(world.register_volume())
    snapshot_id = accepted(send(world.client, body))["id"]
    world.await_settled(snapshot_id)

    again = accepted(send(world.client, body))

    assert (again["id"], again["status"]) == (snapshot_id, "available")
    assert world.audited_events(snapshot_id, ".end") == ["snapshot.manage.start", "snapshot.manage.end"]


def test_repeat_after_unmanage_shows_deleted_and_manages_nothing(world: World) -> None:
    body = snapshot_body(world.register_volume())
    snapshot_id = accepted(send(world.client, body))["id"]
    world.await_settled(snapshot_id)
    world.client.unmanage(snapshot_id)
    world.await_unmanaged(snapshot_id)

    again = accepted(send(world.client, body))

    assert (again["id"], again["status"]) == (snapshot_id, "deleted")
    assert SNAPSHOT in {seen.name for seen in world.driver.list_snapshots()}
    assert accepted(send(world.client, body, "another key"))["id"] != snapshot_id


def test_form_of_the_body_and_choice_of_the_path_do_not_matter(world: World) -> None:
    volume = world.register_volume()
    first = accepted(send(world.client, f'{{"snapshot": {{"volume_id": "{volume}", "ref": {{"source-name": "x"}}}}}}'))

    same = f'{{"snapshot":\n  {{"ref": {{"source-name":"\\u0078"}}, "volume_id":"{volume}"}}\n}}'

    assert accepted(send(world.client, same))["id"] == first["id"]
    assert accepted(send(world.client, same, path="manageable_snapshots"))["id"] == first["id"]


def test_another_body_with_the_same_key_is_refused(world: World) -> None:
    volume = world.register_volume()
    snapshot_id = accepted(send(world.client, snapshot_body(volume)))["id"]

    answers = [
        send(world.client, snapshot_body(volume, "volume-1-snapshot-2")),
        send(world.client, snapshot_body(volume, name="named")),
        send(world.client, volume_body(), path="os-volume-manage"),
    ]

    said = {fault(answer) for answer in answers}
    assert {(status, name) for status, name, _ in said} == {(422, "unprocessableEntity")}
    assert all("Idempotency-Key was used for another request" in text for *_, text in said)
    assert [each["id"] for each in world.client.get("snapshots").json()["snapshots"]] == [snapshot_id]


def test_volume_is_registered_once_for_a_key(world: World) -> None:
    first = accepted(send(world.client, volume_body(), path="os-volume-manage"))
    again = accepted(send(world.client, volume_body(), path="os-volume-manage"))

    assert again["id"] == first["id"]
    assert len(world.client.get("volumes").json()["volumes"]) == 1
    other = send(world.client, volume_body("volume-2"), path="os-volume-manage")
    assert fault(other)[:2] == (422, "unprocessableEntity")


def test_projects_have_separate_keys(world: World) -> None:
    stranger = world.another_client(OTHER_PROJECT)
    first = accepted(send(world.client, volume_body(), path="os-volume-manage"))

    theirs = accepted(send(stranger, volume_body("volume-2"), path="os-volume-manage"))

    stranger.close()
    assert theirs["id"] != first["id"]


def test_refused_request_can_be_repeated_with_its_key(tmp_path: Path) -> None:
    with running_world(tmp_path, rules=Rules(quota=Limits(snapshots=1, gigabytes=-1))) as world:
        volume = world.register_volume()
        first = world.manage_snapshot(volume, "volume-1-snapshot-2")
        body = snapshot_body(volume)
        refused = [
            send(world.client, snapshot_body("00000000-0000-0000-0000-000000000000")),
            send(world.client, snapshot_body(volume, "volume-1-snapshot-2", name=5)),
            send(world.client, body),
        ]
        world.client.unmanage(first)
        world.await_unmanaged(first)

        taken = accepted(send(world.client, body))

        assert [fault(answer)[0] for answer in refused] == [404, 400, 413]
        assert world.await_settled(taken["id"])["status"] == "available"


@pytest.mark.parametrize("key", ["k", "~" * 255, '"quoted, and with spaces"'])
def test_any_printable_ascii_is_a_valid_key(shared: World, volume_id: str, key: str) -> None:
    body = snapshot_body(volume_id, f"keyed-{key}")

    assert accepted(send(shared.client, body, key))["id"] == accepted(send(shared.client, body, key))["id"]


@pytest.mark.parametrize("key", [b"", b"k" * 256, b"caf\xe9", "\N{CAMERA}".encode(), b"a\tb"])
@pytest.mark.parametrize("path", ["os-snapshot-manage", "os-volume-manage"])
def test_malformed_key_is_refused(shared: World, volume_id: str, key: bytes, path: str) -> None:
    body = snapshot_body(volume_id, "unkeyed") if path == "os-snapshot-manage" else volume_body("unkeyed")

    status, name, text = fault(send(shared.client, body, key, path))

    assert (status, name) == (400, "badRequest")
    assert "Idempotency-Key must have 1 to 255 printable ASCII characters" in text


def test_other_operations_ignore_the_key(world: World) -> None:
    snapshot_id = world.manage_snapshot(world.register_volume(), SNAPSHOT)

    answers = [
        world.client.get("snapshots", headers={"Idempotency-Key": ""}),
        world.client.post(
            f"snapshots/{snapshot_id}/action", json={"os-unmanage": None}, headers={"Idempotency-Key": ""}
        ),
    ]

    assert [answer.status_code for answer in answers] == [200, 202]
