"""CADF events of API requests, by the real audit filter of keystonemiddleware and the map in `etc`."""

import json
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from falcon import testing

from snapmanage import errors
from snapmanage.api.access import cadf
from snapmanage.api.access.callers import Caller
from snapmanage.api.access.log import CALLER
from snapmanage.cmd.wiring import middleware
from snapmanage.cmd.wiring.middleware import surround
from snapmanage.core.records import Requester
from snapmanage.testing.waiting import until
from tests.functional.api.access.test_authentication import configured
from tests.functional.callers import by_token, token
from tests.functional.client import PROJECT, SERVER
from tests.functional.world import OTHER_PROJECT, World, running_world

# The application ignores this warning, but pytest replaces the filters of warnings for each test.
pytestmark = pytest.mark.filterwarnings("ignore:Invalid uuid")

MAP = Path(__file__).parents[4] / "etc/snapmanage/api_audit_map.conf"
CONFIGURATION = f"[DEFAULT]\ntransport_url = fake://\n[api]\naudit_map_file = {MAP}\n"
GLOBAL_ID = "req-11111111-2222-3333-4444-555555555555"
BLOCK = "service/storage/block"


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("audited")
    conf = configured(folder, CONFIGURATION)
    with running_world(folder, authenticate=by_token(), around=lambda each: middleware.surround(conf, each)) as world:
        world.client.headers = {"X-Openstack-Request-Id": GLOBAL_ID}
        yield world


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("INFO", "oslo.messaging.notification")
    return caplog


def events(log: pytest.LogCaptureFixture, number: int = 2) -> list[dict[str, Any]]:
    """Return the payloads of the events so far, once there are as many; each request has two."""

    def look() -> list[dict[str, Any]]:
        texts = [each.getMessage() for each in log.records if each.name.startswith("oslo.messaging.notification")]
        return [json.loads(text)["payload"] for text in texts] if len(texts) >= number else []

    return until(look, f"{number} CADF events") or []


def test_created_volume_has_the_events_of_its_request(audited: World, log: pytest.LogCaptureFixture) -> None:
    body = {"volume": {"host": SERVER, "ref": "volume-1"}}

    answer = audited.client.post("os-volume-manage", json=body, headers=token("admin", PROJECT))

    pending, finished = events(log)
    assert answer.status_code == 202
    assert (pending["outcome"], finished["outcome"]) == ("pending", "success")
    assert finished["action"] == "create"
    assert finished["target"]["typeURI"] == f"{BLOCK}/os-volume-manage"
    assert finished["reason"] == {"reasonType": "HTTP", "reasonCode": "202"}
    assert finished["requestPath"] == f"/v3/{PROJECT}/os-volume-manage"
    initiator = finished["initiator"]
    assert (initiator["id"], initiator["project_id"], initiator["host"]["address"]) == ("ann", PROJECT, "127.0.0.1")
    assert initiator["request_id"] == answer.headers["X-Openstack-Request-Id"]
    assert initiator["global_request_id"] == GLOBAL_ID
    assert initiator["credential"]["identity_status"] == "Confirmed"


SNAPSHOT_ID = "5aa119a8-d25b-45a7-8d1b-88e127885635"


@pytest.mark.parametrize(
    ("method", "path", "type_uri", "action"),
    [
        ("GET", "snapshots", "snapshots", "read/list"),
        ("GET", "snapshots/detail?all_tenants=1", "snapshots/detail", "read/list"),
        ("GET", f"snapshots/{SNAPSHOT_ID}", "snapshots/snapshot", "read"),
        ("GET", f"snapshots/{SNAPSHOT_ID}/operation", "snapshots/snapshot", "read"),
        ("POST", f"snapshots/{SNAPSHOT_ID}/action", "snapshots/snapshot", "update/action"),
        ("POST", f"volumes/{SNAPSHOT_ID}/action", "volumes/volume", "update/action"),
        ("GET", f"os-snapshot-manage?host={SERVER}", "os-snapshot-manage", "read/list"),
        ("POST", "os-snapshot-manage", "os-snapshot-manage", "create"),
        ("POST", "manageable_snapshots", "manageable_snapshots", "create"),
        ("GET", "volumes", "volumes", "read/list"),
        ("GET", f"volumes/{SNAPSHOT_ID}", "volumes/volume", "read"),
        ("GET", f"manageable_volumes/detail?host={SERVER}", "manageable_volumes/detail", "read/list"),
        ("POST", "manageable_volumes", "manageable_volumes", "create"),
        ("GET", "messages", "messages", "read/list"),
        ("GET", f"messages/{SNAPSHOT_ID}", "messages/message", "read"),
        ("GET", "extensions", "extensions", "read/list"),
        ("GET", "volumes/summary", "volumes/summary", "read/list"),
        ("GET", "os-services?binary=cinder-volume", "os-services", "read/list"),
        ("PUT", "os-services/enable", "os-services/enable", "enable"),
        ("PUT", "os-services/disable", "os-services/disable", "disable"),
        ("PUT", "os-services/disable-log-reason", "os-services/disable-log-reason", "disable"),
        ("GET", "scheduler-stats/get_pools", "scheduler-stats/get_pools", "read/list"),
        ("GET", "os-availability-zone", "os-availability-zone", "read/list"),
        ("GET", f"os-quota-sets/{PROJECT}", "os-quota-sets/project", "read"),
        ("GET", f"os-quota-sets/{PROJECT}/defaults", "os-quota-sets/project/defaults", "read/list"),
        ("PUT", f"os-quota-sets/{PROJECT}", "os-quota-sets/project", "update"),
        ("DELETE", f"os-quota-sets/{PROJECT}", "os-quota-sets/project", "delete"),
        ("GET", "limits", "limits", "read/list"),
        ("GET", f"types/{SNAPSHOT_ID}", "types/type", "read"),
    ],
)
def test_each_resource_has_its_type_and_action(
    audited: World, log: pytest.LogCaptureFixture, method: str, path: str, type_uri: str, action: str
) -> None:
    audited.client.request(method, path, version="3.71", headers=token("admin", PROJECT))

    finished = events(log)[-1]
    assert (finished["target"]["typeURI"], finished["action"]) == (f"{BLOCK}/{type_uri}", action)


@pytest.mark.parametrize(
    ("headers", "code", "user"),
    [
        ({}, "401", "unknown"),
        ({"X-Auth-Token": "garbage", "X-User-Id": "root", "X-Project-Id": PROJECT}, "401", "unknown"),
        (token("reader", PROJECT), "403", "ann"),
        (token("admin", OTHER_PROJECT), "400", "unknown"),
    ],
)
def test_refused_request_has_a_failed_event(
    audited: World, log: pytest.LogCaptureFixture, headers: dict[str, str], code: str, user: str
) -> None:
    answer = audited.client.get(f"os-snapshot-manage?host={SERVER}", headers=headers)

    finished = events(log)[-1]
    assert str(answer.status_code) == code
    assert (finished["outcome"], finished["reason"]["reasonCode"]) == ("failure", code)
    assert finished["initiator"]["id"] == user


def test_event_has_no_token_and_no_address_that_the_client_has_chosen(
    audited: World, log: pytest.LogCaptureFixture
) -> None:
    headers = token("reader", PROJECT) | {"X-Forwarded-For": "203.0.113.9", "Authorization": "Basic c2VjcmV0"}

    audited.client.get("snapshots", headers=headers)

    assert events(log)[-1]["initiator"]["host"]["address"] == "127.0.0.1"
    assert not [text for text in log.messages if "c2VjcmV0" in text or "reader@" in text or "203.0.113.9" in text]


def test_undecodable_path_is_audited_too(audited: World, log: pytest.LogCaptureFixture) -> None:
    answer = audited.client.get("/v3/%ff", headers=token("reader", PROJECT))

    assert answer.status_code == 404
    assert events(log)[-1]["reason"]["reasonCode"] == "404"


def test_undecodable_prefix_of_a_proxy_is_audited_too(log: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    audited = surround(configured(tmp_path, CONFIGURATION), answer_as_ann)
    environ = testing.create_environ("/v3/volumes", root_path="/\xff")

    list(audited(environ, lambda *answer: None))

    assert events(log)[-1]["requestPath"].endswith("/v3/volumes")
    assert not [each for each in log.records if each.levelname == "ERROR"]


@pytest.mark.parametrize("host", ["[", "[zz]:1", "]", "localhost:99999", "localhost:x", "[::1]:x", ""])
def test_no_host_header_keeps_a_request_from_its_event(
    audited: World, log: pytest.LogCaptureFixture, host: str
) -> None:
    audited.client.get("snapshots", headers=token("reader", PROJECT) | {"Host": host})

    assert events(log)[-1]["target"]["addresses"][0]["url"] == "http://snapmanage"
    assert not [each for each in log.records if each.levelname == "ERROR"]


def test_client_does_not_choose_the_size_of_an_event(audited: World, log: pytest.LogCaptureFixture) -> None:
    for path, agent in (
        ("snapshots", "a" * 60_000),
        (f"snapshots?name={'b' * 60_000}", "a"),
        (f"{'c/' * 30_000}", "a"),
    ):
        audited.client.get(path, headers=token("reader", PROJECT) | {"User-Agent": agent})

    assert len(json.dumps(events(log, 6))) < 6 * 4000


def test_health_check_has_no_event(audited: World, log: pytest.LogCaptureFixture) -> None:
    audited.client.get("/healthcheck")
    audited.client.get("/v3")

    assert {each["requestPath"] for each in events(log)} == {"/v3"}


def test_failing_filter_does_not_fail_the_request(
    audited: World, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keystonemiddleware import audit

    def fail(*arguments: object) -> None:
        raise RuntimeError("no event")

    monkeypatch.setattr(audit.AuditMiddleware, "_process_request", fail)

    assert audited.client.get("snapshots", headers=token("reader", PROJECT)).status_code == 200
    [line] = [each for each in log.records if each.levelname == "ERROR"]
    assert "the request has no CADF event" in line.getMessage()
    assert line.exc_info is None


def test_names_of_users_cause_no_warnings(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        application = middleware.surround(configured(tmp_path, CONFIGURATION), answer_as_ann)
        application(testing.create_environ("/v3/snapshots"), lambda status, headers: None)

    assert [each["initiator"]["id"] for each in events(log)] == ["ann", "ann"]


def answer_as_ann(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    environ[CALLER] = Caller(Requester(PROJECT, "ann"), ("admin",), bound=True)
    start_response("200 OK", [])
    return []


def test_broker_that_hangs_delays_no_request(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        text = CONFIGURATION.replace("fake://", f"rabbit://guest:guest@127.0.0.1:{silent.getsockname()[1]}/")
        conf = configured(tmp_path, f"{text}[audit_middleware_notifications]\ndriver = messagingv2\n")
        begun_at = time.monotonic()
        with running_world(tmp_path, authenticate=by_token(), around=lambda each: surround(conf, each)) as world:
            statuses = {world.client.get("snapshots", headers=token("reader", PROJECT)).status_code for _ in range(3)}
        needed = time.monotonic() - begun_at

    assert statuses == {200}
    assert needed < 8, "a request that waits for the broker needs ten seconds"


def test_events_beyond_a_number_are_lost_with_one_line(log: pytest.LogCaptureFixture) -> None:
    go_on, handled = threading.Event(), list[dict[str, Any]]()

    def handle(described: dict[str, Any]) -> None:
        go_on.wait(20)
        handled.append(described)

    background = cadf.Background(handle, most_waiting=2)
    for number in range(10):
        background.put({"number": number})
    go_on.set()
    background.drain(20)

    assert len(handled) in (2, 3)
    assert [each.getMessage() for each in log.records if "CADF" in each.getMessage()] == [
        "Too many CADF events wait for the broker; the newest ones are lost. Start the broker."
    ]


@pytest.mark.parametrize(
    ("content", "why"), [(None, "No such file"), ("[path_keywords\n", "copy etc/snapmanage/api_audit_map.conf")]
)
def test_unusable_map_is_reported_at_start(tmp_path: Path, content: str | None, why: str) -> None:
    named = tmp_path / "map.conf"
    if content:
        named.write_text(content)

    with pytest.raises(errors.ConfigurationError, match=why) as refusal:
        middleware.surround(configured(tmp_path, f"[api]\naudit_map_file = {named}\n"), object())

    assert str(refusal.value).startswith("[api] audit_map_file: ")
    assert "\n" not in str(refusal.value)


def test_missing_package_is_reported_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keystonemiddleware", None)

    with pytest.raises(errors.ConfigurationError, match=r"install snapmanage\[keystone\]"):
        middleware.surround(configured(tmp_path, CONFIGURATION), object())
