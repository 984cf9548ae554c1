"""Texts for readers and members: without hosts, paths and records of other projects."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from snapmanage import errors
from snapmanage.api.access import policy
from snapmanage.cmd.wiring import middleware
from snapmanage.core.backend import Unsafe
from snapmanage.store.audit import log
from tests.examples import new_id
from tests.functional.api.access.test_policy import configured
from tests.functional.callers import by_token, token
from tests.functional.client import PROJECT, SERVER, fault
from tests.functional.world import OTHER_PROJECT, VOLUME, World, running_world

ADMIN, MEMBER, READER = (token(role, PROJECT) for role in ("admin", "member", "reader"))
SNAPSHOT = "volume-1-snapshot-1"
PATH = "/srv/images/volume-1"
HOST = SERVER.partition("@")[0]
MEMBERS_MANAGE = "".join(
    f'"{rule}": "role:admin or role:member"\n'
    for rule in (
        policy.MANAGE,
        policy.UNMANAGE,
        policy.LIST_MANAGEABLE,
        policy.LIST_MANAGEABLE_VOLUMES,
        policy.MANAGE_VOLUME,
    )
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Yield a world whose policy lets members manage snapshots and volumes."""
    rules = middleware.policy(configured(tmp_path, MEMBERS_MANAGE))
    with running_world(tmp_path, authenticate=by_token(), policy=rules) as made:
        made.client.headers = ADMIN
        yield made


@pytest.fixture
def failed(world: World) -> str:
    """Return the id of a snapshot whose operation failed with a text that names a path and a host."""
    volume_id = world.register_volume()
    world.fail_at({"find": errors.SourceNotFound(f"there is no file {PATH} on {SERVER}")})
    snapshot_id = world.request_manage(volume_id, SNAPSHOT)
    world.await_settled(snapshot_id)
    world.audited_events(snapshot_id, ".error")
    return snapshot_id


def shown_to(world: World, caller: dict[str, str], path: str) -> requests.Response:
    answer = world.client.get(path, version="3.71", headers=caller)
    assert answer.status_code == 200, answer.text
    return answer


def test_administrator_sees_the_reason_with_its_details(world: World, failed: str) -> None:
    [message] = shown_to(world, ADMIN, "messages").json()["messages"]
    operation = shown_to(world, ADMIN, f"snapshots/{failed}/operation").json()["operation"]

    assert message["user_message"] == f"manage snapshot: there is no file {PATH} on {SERVER}"
    assert operation["reason"] == f"there is no file {PATH} on {SERVER}"
    assert operation["events"][-1]["reason"]["text"] == operation["reason"]


@pytest.mark.parametrize("caller", [READER, MEMBER], ids=["reader", "member"])
def test_others_see_the_code_and_a_sentence(world: World, failed: str, caller: dict[str, str]) -> None:
    [message] = shown_to(world, caller, "messages").json()["messages"]
    operation = shown_to(world, caller, f"snapshots/{failed}/operation").json()["operation"]

    sentence = "The backend has no object of that name."
    assert shown_to(world, caller, f"messages/{message['id']}").json()["message"] == message
    assert message["user_message"] == f"manage snapshot: {sentence}"
    assert message["event_id"] == "SNAPSHOT_MANAGE_SOURCE_NOT_FOUND"
    assert (operation["reason_code"], operation["reason"]) == ("source_not_found", sentence)
    assert operation["events"][-1]["reason"] == {"code": "source_not_found", "text": sentence}


def test_reader_finds_no_host_and_no_path_in_any_resource(world: World, failed: str) -> None:
    [message] = shown_to(world, READER, "messages").json()["messages"]
    [volume] = shown_to(world, READER, "volumes").json()["volumes"]
    paths = [f"snapshots/{failed}", "snapshots/detail", f"snapshots/{failed}/operation", "volumes/detail"]

    answers = [shown_to(world, READER, path).text for path in [*paths, f"volumes/{volume['id']}", "messages"]]

    assert message["resource_uuid"] == failed
    assert not [text for text in answers if HOST in text or PATH in text]


def test_operation_without_a_failure_has_no_reason_for_a_reader(world: World) -> None:
    snapshot_id = world.manage_snapshot(world.register_volume(), SNAPSHOT)
    world.audited_events(snapshot_id, ".end")

    operation = shown_to(world, READER, f"snapshots/{snapshot_id}/operation").json()["operation"]

    assert (operation["reason"], operation["events"][-1]["reason"]) == (None, None)


@pytest.mark.parametrize("reason", ["a text", {"code": ["a", "list"]}, {}, ["code"], 7])
def test_forged_event_with_an_odd_reason_is_shown_to_a_reader(world: World, failed: str, reason: object) -> None:
    with world.db.read() as conn:
        *_, last = log.of_snapshot(conn, failed)
    content = json.dumps(last.payload | {"reason": reason})
    forged = replace(last, number=10, generation=10, event_id=new_id(), content=content)
    world.db.write(lambda conn, _: log.append(conn, [forged]))

    *_, event = shown_to(world, READER, f"snapshots/{failed}/operation").json()["operation"]["events"]

    assert event["reason"] == ({"code": None, "text": "The operation failed."} if reason else reason)


def refused_texts(world: World, send: Any) -> tuple[str, str]:
    """Return the text of a refusal for an administrator, and for a member."""
    return fault(send(ADMIN))[2], fault(send(MEMBER))[2]


def test_refusal_of_a_managed_object_names_its_owner_to_administrators_only(world: World) -> None:
    volume_id = world.register_volume()
    theirs = {"snapshot": {"volume_id": volume_id, "ref": SNAPSHOT}}
    other = f"/v3/{OTHER_PROJECT}/os-snapshot-manage"
    made = world.client.post(other, json=theirs, headers=token("admin", OTHER_PROJECT))
    owner = made.json()["snapshot"]["id"]
    world.client.get(f"/v3/{OTHER_PROJECT}/snapshots/{owner}", headers=token("admin", OTHER_PROJECT))

    def manage_again(caller: dict[str, str]) -> requests.Response:
        body = {"snapshot": {"volume_id": volume_id, "ref": f"snapshot-{owner}"}}
        return world.client.post("os-snapshot-manage", json=body, headers=caller)

    detailed, plain = refused_texts(world, manage_again)
    assert owner in detailed
    assert plain == "The object on the backend is managed already, or a request to manage it is being carried out."


def test_refusal_of_an_object_of_the_own_project_names_its_record_to_everyone(world: World) -> None:
    volume_id = world.register_volume()
    owner = world.manage_snapshot(volume_id, SNAPSHOT)

    def manage_again(caller: dict[str, str]) -> requests.Response:
        return world.client.post(
            "os-snapshot-manage", json={"snapshot": {"volume_id": volume_id, "ref": SNAPSHOT}}, headers=caller
        )

    def register_again(caller: dict[str, str]) -> requests.Response:
        return world.client.post("os-volume-manage", json={"volume": {"host": SERVER, "ref": VOLUME}}, headers=caller)

    for send, kind, record_id in ((manage_again, "snapshot", owner), (register_again, "volume", volume_id)):
        detailed, plain = refused_texts(world, send)
        assert detailed.endswith(f"is managed or being managed already: it is {kind} {record_id}")
        assert plain.endswith(f"is being carried out. Its record is {record_id}.")
        assert SERVER not in plain


def test_reason_of_a_disabled_server_is_shown_to_everyone_and_its_name_to_administrators(world: World) -> None:
    world.disable(SERVER, "array swap until 14:00")

    texts = refused_texts(world, lambda who: world.client.get(f"os-snapshot-manage?host={SERVER}", headers=who))

    assert texts == (
        f"Service is unavailable at this time. The server {SERVER} is disabled: array swap until 14:00.",
        "Service is unavailable at this time. The server of the backend is disabled: array swap until 14:00.",
    )


def test_refusal_of_an_unknown_host_does_not_repeat_the_host(world: World) -> None:
    def register(caller: dict[str, str]) -> requests.Response:
        body = {"volume": {"host": "nowhere@fast", "ref": "volume-1"}}
        return world.client.post("os-volume-manage", json=body, headers=caller)

    assert refused_texts(world, register) == (
        "Service snapmanage-volume could not be found on host nowhere@fast. These hosts exist: storage-1@fast.",
        "The volume, or the server of its backend, could not be found.",
    )


def test_backends_of_a_host_are_named_to_administrators_only(world: World) -> None:
    world.add_heartbeat(f"{HOST}@slow")

    detailed, plain = refused_texts(world, lambda who: world.client.get(f"os-snapshot-manage?host={HOST}", headers=who))

    assert detailed.endswith(f"name one of: {HOST}@fast, {HOST}@slow")
    assert plain.endswith("name the backend too, as HOST@BACKEND")


def test_failed_list_shows_the_backend_s_text_to_administrators_only(world: World) -> None:
    world.fail_at({"list": errors.BackendUnavailable(f"{PATH} on {SERVER} is away")})

    path = f"os-snapshot-manage?host={SERVER}"
    detailed, plain = refused_texts(world, lambda who: world.client.get(path, headers=who))

    assert PATH in detailed
    assert plain == "The backend does not answer."


def test_manageable_list_has_details_for_administrators_only(world: World) -> None:
    managed = world.manage_snapshot(world.register_volume(), SNAPSHOT)
    world.driver.mark("volume-1-snapshot-2", Unsafe.IN_USE, f"process 7 has {PATH} open")
    path = f"os-snapshot-manage/detail?host={SERVER}&sort=reference:asc"

    entries = shown_to(world, MEMBER, path).json()["manageable-snapshots"]

    assert [(each["reason_not_safe"], each["cinder_id"]) for each in entries] == [
        ("already managed", None),
        ("in use", None),
        (None, None),
    ]
    detailed = shown_to(world, ADMIN, path).json()["manageable-snapshots"]
    assert (detailed[0]["cinder_id"], detailed[1]["reason_not_safe"]) == (
        managed,
        f"in use: process 7 has {PATH} open",
    )


def test_origins_are_no_secret_of_a_backend(world: World) -> None:
    name = add_syncoid(world)

    answer = world.client.get("os-snapshot-manage/detail", params={"host": SERVER, "name": name}, headers=MEMBER)

    [entry] = answer.json()["manageable-snapshots"]
    assert (entry["extra_info"]["origin"], entry["extra_info"]["origin-rename"]) == ("syncoid", "refuse")
    assert entry["reason_not_safe"] == "origin refuses: syncoid needs this name for its next incremental send"


def test_refusal_because_of_an_origin_is_the_same_for_everyone(world: World) -> None:
    body = {"snapshot": {"volume_id": world.register_volume(), "ref": add_syncoid(world)}}

    def manage(caller: dict[str, str]) -> requests.Response:
        return world.client.post("os-snapshot-manage", json=body, headers=caller)

    detailed, plain = refused_texts(world, manage)
    assert "syncoid needs this name" in detailed
    assert plain == detailed


@pytest.mark.parametrize("value", ["true", "false"])
def test_member_may_not_force_a_new_name(world: World, value: str) -> None:
    snapshot = {"volume_id": world.register_volume(), "ref": add_syncoid(world)}
    forced = {"metadata": {"snapmanage:force": value}}
    volume = {"host": SERVER, "ref": "volume-2"}

    answers = [
        world.client.post("os-snapshot-manage", json={"snapshot": snapshot | forced}, headers=MEMBER),
        world.client.post("os-volume-manage", json={"volume": volume | forced}, headers=MEMBER),
    ]

    for answer in answers:
        assert fault(answer)[:2] == (403, "forbidden")
        assert fault(answer)[2].startswith("Only an administrator may set the metadata snapmanage:force")


def add_syncoid(world: World) -> str:
    name = "syncoid_nas_2020-01-27:12:30:01"
    world.driver.add_snapshot("volume-1", name)
    return name


def test_list_of_manageable_volumes_has_details_for_administrators_only(world: World) -> None:
    volume_id = world.register_volume()
    world.driver.add_volume("volume-2")
    world.driver.mark("volume-2", Unsafe.UNUSABLE, f"{PATH} is damaged")
    path = f"os-volume-manage/detail?host={SERVER}&sort=reference:asc"

    entries = shown_to(world, MEMBER, path).json()["manageable-volumes"]

    plain = [("already managed", None), ("unusable", None)]
    assert [(each["reason_not_safe"], each["cinder_id"]) for each in entries] == plain
    detailed = shown_to(world, ADMIN, path).json()["manageable-volumes"]
    assert (detailed[0]["cinder_id"], detailed[1]["reason_not_safe"]) == (volume_id, f"unusable: {PATH} is damaged")
