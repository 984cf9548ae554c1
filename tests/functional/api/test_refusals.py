"""Malformed requests over HTTP: each is refused with a reason in the form of the API."""

import json
import socket
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.functional.client import PROJECT, fault
from tests.functional.world import OTHER_PROJECT, World, running_world

SNAPSHOT = "volume-1-snapshot-1"
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "Missing body"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b'{"snapshot": {"volume_id": "VOLUME", "ref": "a\\u0000b"}}', "NUL"),
        (b'{"snapshot": {"volume_id": "VOLUME", "ref": "x", "name": "\\ud800"}}', "surrogate"),
        (b'{"snapshot": {"volume_id": "VOLUME", "ref": "x", "metadata": {"\\udfff": "v"}}}', "surrogate"),
        (b'{"snapshot": {"volume_id": "VOLUME", "ref": {"a": NaN}}}', "JSON"),
        (b'{"snapshot": {"volume_id": "VOLUME", "ref": {"a": 1e999}}}', "JSON"),
        (b'{"snapshot": {"volume_id": "not a uuid", "ref": "x"}}', "snapshot/volume_id"),
        (b'{"snapshot": {"volume_id": "VOLUME", "ref": ""}}', "snapshot/ref"),
    ],
)
def test_body_that_can_not_be_stored_is_refused(shared: World, volume_id: str, body: bytes, text: str) -> None:
    sent = body.replace(b"VOLUME", volume_id.encode())

    answer = shared.client.post("os-snapshot-manage", data=sent, headers=JSON)

    status, _, said = fault(answer)
    assert status == 400
    assert text in said


class Broken:
    """The input of a WSGI server whose client has stopped to send its body."""

    def read(self, size: int) -> bytes:
        raise OSError("the client has left")


def test_body_that_does_not_arrive_under_another_wsgi_server_is_no_failure(tmp_path: Path) -> None:
    def around(application: Any) -> Any:
        return lambda environ, start_response: application(environ | {"wsgi.input": Broken()}, start_response)

    with running_world(tmp_path, around=around) as world:
        answer = world.client.post("os-snapshot-manage", json={})

    assert fault(answer)[::2] == (408, "The body did not arrive in time.")


@pytest.mark.parametrize("depth", [33, 500, 900, 1500])
@pytest.mark.parametrize("field", ["ref", "volume_id"])
def test_very_deep_body_is_refused(shared: World, volume_id: str, field: str, depth: int) -> None:
    known = {"volume_id": json.dumps(volume_id), "ref": '"x"'} | {field: '{"a":' * depth + "1" + "}" * depth}
    body = f'{{"snapshot": {{"volume_id": {known["volume_id"]}, "ref": {known["ref"]}}}}}'

    answer = shared.client.post("os-snapshot-manage", data=body, headers=JSON)

    status, _, said = fault(answer)
    assert status == (400 if len(body) <= 4096 else 413)
    assert "nested" in said or status == 413


def test_body_that_is_too_large_is_refused(shared: World) -> None:
    answers = [shared.client.post("os-snapshot-manage", data=b"x" * size, headers=JSON) for size in (4096, 4097, 40960)]

    assert [fault(answer)[:2] for answer in answers] == [(400, "badRequest"), (413, "overLimit"), (413, "overLimit")]


def test_body_far_beyond_the_limit_is_refused_unread(shared: World) -> None:
    host, _, port = shared.client.root.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"POST /v3/nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")

        answer = connection.recv(4096)

    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("header", "status"), [(b"Content-Length: -1", b"400"), (b"Transfer-Encoding: chunked", b"411")]
)
def test_body_without_a_length_is_refused(shared: World, header: bytes, status: bytes) -> None:
    host, _, port = shared.client.root.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"POST /v3/os-snapshot-manage HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n0\r\n\r\n")

        answer = connection.recv(4096)

    assert answer.split(b" ")[1] == status


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "", "application/x-www-form-urlencoded"])
def test_body_of_another_type_is_refused(shared: World, kind: str) -> None:
    answer = shared.client.post("os-snapshot-manage", data=b"{}", headers={"Content-Type": kind})

    assert fault(answer)[:2] == (415, "badMediaType")


def test_content_type_may_have_a_charset(shared: World, volume_id: str) -> None:
    body = json.dumps({"snapshot": {"volume_id": volume_id, "ref": "with-charset"}})

    answer = shared.client.post(
        "os-snapshot-manage", data=body, headers={"Content-Type": "Application/JSON; charset=UTF-8"}
    )

    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "os-snapshot-manage", {"GET", "POST", "OPTIONS"}),
        ("PUT", "snapshots", {"GET", "OPTIONS"}),
        ("POST", f"snapshots/{uuid.UUID(int=1)}", {"GET", "PUT", "DELETE", "OPTIONS"}),
        ("GET", f"snapshots/{uuid.UUID(int=1)}/action", {"POST", "OPTIONS"}),
        ("POST", "/v3", {"GET", "OPTIONS"}),
    ],
)
def test_unknown_method_is_refused_with_the_allowed_methods(
    shared: World, method: str, path: str, allowed: set[str]
) -> None:
    answer = shared.client.request(method, path)

    assert fault(answer)[0] == 405
    assert {each.strip() for each in answer.headers["Allow"].split(",")} == allowed


@pytest.mark.parametrize(
    "path",
    ["snapshots?name=a%00b", "snapshots/%00", "volumes/%00", "snapshots?marker=%00", "os-snapshot-manage?host=%00@b"],
)
def test_nul_in_an_address_is_a_bad_request(shared: World, path: str) -> None:
    answer = shared.client.get(path)

    assert fault(answer)[:2] == (400, "badRequest")


def test_bytes_that_are_not_utf8_match_no_record(shared: World) -> None:
    assert shared.client.get("snapshots?name=%ff%fe").json() == {"snapshots": []}
    assert fault(shared.client.get("snapshots/%ff"))[0] == 404


@pytest.mark.parametrize("path", ["/nowhere", "/v2/", "/v3/notanid!/snapshots", "nowhere", "snapshots/x/y/z"])
def test_other_paths_are_not_found(shared: World, path: str) -> None:
    assert fault(shared.client.get(path))[:2] == (404, "itemNotFound")


def test_trailing_slash_makes_no_difference(shared: World) -> None:
    assert shared.client.get("snapshots/").json() == shared.client.get("snapshots").json()


def test_token_and_path_must_name_the_same_project(shared: World) -> None:
    answer = shared.client.get("snapshots", headers={"X-Auth-Token": f"ann:{OTHER_PROJECT}"})

    assert fault(answer)[:2] == (400, "badRequest")


def test_project_may_come_from_the_token_alone(world: World) -> None:
    snapshot_id = world.manage_snapshot(world.register_volume(), SNAPSHOT)

    answer = world.client.get(f"/v3/snapshots/{snapshot_id}", headers={"X-Auth-Token": f"ann:{PROJECT}"})

    assert answer.json()["snapshot"]["id"] == snapshot_id
