"""The access log: each request leaves one line with its caller, status and ids."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import falcon
import pytest
import requests

from snapmanage.api.access.callers import Caller
from snapmanage.cmd.wiring import middleware
from snapmanage.testing.waiting import until
from tests.functional.api.access.test_authentication import configured
from tests.functional.callers import by_token, token
from tests.functional.client import PROJECT
from tests.functional.world import World, running_world

PAGE = "https://dashboard.example"
GLOBAL_ID = "req-11111111-2222-3333-4444-555555555555"
CONFIGURATION = f"[cors]\nallowed_origin = {PAGE}\n[oslo_middleware]\nenable_proxy_headers_parsing = true\n"


def authenticate(request: falcon.Request, project_id: str | None) -> Caller:
    """Authenticate by token, and fail unexpectedly for the token `crash`."""
    if request.get_header("X-Auth-Token") == "crash":
        raise RuntimeError("a fault of the program")
    return by_token()(request, project_id)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("logged")
    conf = configured(folder, CONFIGURATION)
    with running_world(folder, authenticate=authenticate, around=lambda each: middleware.surround(conf, each)) as world:
        yield world


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("INFO", "snapmanage.access")
    return caplog


def line_of(caplog: pytest.LogCaptureFixture, answer: requests.Response) -> dict[str, str]:
    """Return the fields of the only line about a request."""
    request_id = answer.headers["X-Openstack-Request-Id"]

    def look() -> list[str]:
        messages = [each.getMessage() for each in caplog.records if each.name == "snapmanage.access"]
        return [message for message in messages if f"request={request_id}" in message]

    [line] = until(look, f"a line about {request_id}") or []
    assert line.startswith("Request answered: address=")
    pairs = re.findall(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|\S+)', line)
    return {name: json.loads(value) if value.startswith('"') else value for name, value in pairs}


def test_line_of_a_batch_has_the_numbers_of_its_outcomes(logged: World, log: pytest.LogCaptureFixture) -> None:
    logged.client.headers = token("admin", PROJECT)
    volume = logged.register_volume()
    keyed = {"volume_id": volume, "ref": "volume-1-snapshot-1", "idempotency_key": "k"}
    entries = [keyed, keyed, {"volume_id": PROJECT, "ref": "x"}, {"volume_id": volume, "ref": "volume-1-snapshot-2"}]

    answer = logged.client.post("os-snapshot-manage/batch", json={"snapshots": entries})

    logged.client.headers = {}
    line = line_of(log, answer)
    assert (line["status"], line["accepted"], line["repeated"], line["refused"]) == ("207", "2", "1", "1")


def test_line_has_the_caller_the_answer_and_the_ids(logged: World, log: pytest.LogCaptureFixture) -> None:
    headers = token("reader,member", PROJECT) | {"X-Openstack-Request-Id": GLOBAL_ID}

    answer = logged.client.get("snapshots?name=secret", headers=headers)

    line = line_of(log, answer)
    assert float(line.pop("seconds")) >= 0
    assert line == {
        "address": "127.0.0.1",
        "user": "ann",
        "project": PROJECT,
        "roles": "reader,member",
        "method": "GET",
        "path": f"/v3/{PROJECT}/snapshots",
        "status": "200",
        "bytes": str(len(answer.content)),
        "request": answer.headers["X-Openstack-Request-Id"],
        "global_request": GLOBAL_ID,
    }


REFUSED = [
    ("GET", "/v3/snapshots?" + "&" * 100, {}, "400", "invalid_request"),
    ("GET", "/v3/snapshots", {"Host": "evil.example/<script>"}, "400", "invalid_request"),
    ("GET", "/v3/snapshots", {"X-Auth-Token": "secret"}, "401", "not_authenticated"),
    ("GET", "/v3/snapshots/nowhere", token("reader", PROJECT), "404", "not_found"),
    ("GET", "/nowhere", {}, "404", None),
    ("DELETE", "/v3/snapshots", {}, "405", None),
    ("WEBSOCKET", "/v3/snapshots", {}, "400", None),
    ("GET", "/v3/snapshots", {"X-Auth-Token": "crash"}, "500", None),
]


@pytest.mark.parametrize(("method", "path", "headers", "status", "code"), REFUSED)
def test_refused_request_has_a_line_with_its_address_and_the_code_of_the_error(
    logged: World,
    log: pytest.LogCaptureFixture,
    method: str,
    path: str,
    headers: dict[str, str],
    status: str,
    code: str | None,
) -> None:
    answer = logged.client.request(method, path, headers=headers)

    line = line_of(log, answer)
    assert (line["status"], line["address"], line.get("error")) == (status, "127.0.0.1", code)
    assert (line["method"], line["path"]) == (method, path.partition("?")[0])
    assert answer.headers.get("Snapmanage-Error-Code") == code
    assert "secret" not in log.text


def test_forbidden_request_has_a_line_with_the_rule(logged: World, log: pytest.LogCaptureFixture) -> None:
    answer = logged.client.get("os-snapshot-manage?host=a@b", headers=token("reader", PROJECT))

    line = line_of(log, answer)
    assert (line["status"], line["user"], line["error"]) == ("403", "ann", "not_permitted")
    assert line["rule"] == "snapshot_extension:list_manageable"


def test_list_of_all_projects_is_marked(logged: World, log: pytest.LogCaptureFixture) -> None:
    everything = logged.client.get("snapshots?all_tenants=1", headers=token("admin", PROJECT))
    ignored = logged.client.get("snapshots?all_tenants=1", headers=token("reader", PROJECT))

    assert line_of(log, everything)["scope"] == "all_projects"
    assert "scope" not in line_of(log, ignored)


def test_foreign_text_is_escaped_and_cut(logged: World, log: pytest.LogCaptureFixture) -> None:
    answer = logged.client.get(f"/a%0Astatus=200%1B[2J%C3%A9%FF{'x' * 300}")

    assert line_of(log, answer)["path"] == "/a\nstatus=200\x1b[2Jé\\xff" + "x" * 233 + "…"
    assert not re.search(r"[^ -~\n]", log.text)


def test_address_is_that_of_a_trusted_proxy_s_header(logged: World, log: pytest.LogCaptureFixture) -> None:
    answer = logged.client.get("/v3", headers={"X-Forwarded-For": "203.0.113.9"})

    assert line_of(log, answer)["address"] == "203.0.113.9"


def test_address_is_the_peer_s_without_a_trusted_proxy(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    conf = configured(tmp_path, "")
    with running_world(tmp_path, around=lambda each: middleware.surround(conf, each)) as world:
        answer = world.client.get("/v3", headers={"X-Forwarded-For": "203.0.113.9"})

    assert line_of(log, answer)["address"] == "127.0.0.1"


def test_preflight_of_a_browser_has_a_line_too(logged: World, log: pytest.LogCaptureFixture) -> None:
    headers = {"Origin": PAGE, "Access-Control-Request-Method": "GET", "X-Openstack-Request-Id": GLOBAL_ID}

    logged.client.request("OPTIONS", "snapshots", headers=headers)

    [line] = until(lambda: [each for each in log.messages if GLOBAL_ID in each], "a line about the preflight") or []
    assert "method=OPTIONS" in line
    assert "status=200" in line


def test_logger_can_be_switched_off(logged: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", "snapmanage.access")

    logged.client.get("/v3")

    assert "snapmanage.access" not in [record.name for record in caplog.records]
