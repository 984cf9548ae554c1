"""Authentication over HTTP, and the requirements of each strategy at start."""

import base64
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import falcon
import pytest
import requests
import webob.exc
from falcon import testing
from keystoneauth1 import exceptions
from keystonemiddleware import auth_token
from oslo_config import cfg

from snapmanage import conf as options
from snapmanage import errors
from snapmanage.api.access.http_basic import HttpBasic
from snapmanage.api.access.keystone import TOKENS, Keystone, Middleware
from snapmanage.api.access.password_checks import PasswordChecks
from snapmanage.api.access.tokens import Validations
from snapmanage.api.app import AnswerHeaders
from snapmanage.cmd.wiring import middleware as pipeline
from tests.functional.callers import CHALLENGE, FakeMiddleware, by_token, token
from tests.functional.client import PROJECT, fault
from tests.functional.world import OTHER_PROJECT, World, running_world

PASSWORD = "correct horse battery"
OPEN = ["/", "/v3", "/v3/", "/healthcheck"]
KEYSTONE = """
[keystone_authtoken]
www_authenticate_uri = http://keystone.example/v3
auth_type = password
auth_url = {auth_url}
username = snapmanage
password = not-to-be-told
project_name = service
user_domain_id = default
project_domain_id = default
http_connect_timeout = 1
http_request_max_retries = 0
"""


def configured(folder: Path, text: str) -> cfg.ConfigOpts:
    file = folder / "snapmanage.conf"
    file.write_text(text)
    conf = cfg.ConfigOpts()
    options.register(conf)
    conf(["--config-file", str(file)], default_config_files=[], default_config_dirs=[])
    return conf


def request_from(address: str) -> falcon.Request:
    request = falcon.Request(testing.create_environ() | {"REMOTE_ADDR": address})
    AnswerHeaders().process_request(request, falcon.Response())
    return request


# http_basic


@pytest.fixture(scope="module")
def basic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("basic")
    with running_world(folder, authenticate=basic_strategy(folder)) as world:
        yield world


def htpasswd(folder: Path, cost: int) -> Path:
    file = folder / "htpasswd"
    file.write_text(f"ann:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(cost)).decode()}\n")
    return file


def basic_strategy(folder: Path, wrong_per_minute: int = 1000, cost: int = 4) -> HttpBasic:
    """Return a strategy with one user."""
    return HttpBasic(htpasswd(folder, cost), PasswordChecks(wrong_per_minute, parallel=1, places=8), lowest_cost=cost)


def test_user_of_the_file_manages_in_the_project_of_the_path(tmp_path: Path) -> None:
    with running_world(tmp_path, authenticate=basic_strategy(tmp_path)) as world:
        world.client.session.auth = ("ann", PASSWORD)

        snapshot_id = world.manage_snapshot(world.register_volume(), "volume-1-snapshot-1")

        assert world.client.snapshot(snapshot_id, version="3.41")["user_id"] == "ann"
        other = f"/v3/{OTHER_PROJECT}/snapshots/{snapshot_id}"
        assert fault(world.client.get(other))[0] == 404


@pytest.mark.parametrize("credentials", [None, ("ann", "wrong"), ("bob", PASSWORD)])
def test_request_without_the_password_is_refused(basic: World, credentials: tuple[str, str] | None) -> None:
    answer = basic.client.request("POST", "os-snapshot-manage", data=b"not JSON", auth=credentials)

    said = (401, "unauthorized", "The request you have made requires authentication.")
    assert fault(answer) == said
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="snapmanage", charset="UTF-8"'


def test_undecodable_header_is_refused_in_the_form_of_the_api(basic: World) -> None:
    answer = basic.client.get("snapshots", headers={"Authorization": "Basic ???"})

    assert fault(answer)[:2] == (400, "badRequest")


@pytest.mark.parametrize("path", OPEN)
def test_discovery_needs_no_password(basic: World, path: str) -> None:
    assert basic.client.get(path).status_code in (200, 300)


def test_several_threads_authenticate_at_the_same_time(basic: World) -> None:
    statuses: list[int] = []

    def send_requests() -> None:
        url = f"{basic.client.root}/v3/{PROJECT}/snapshots"
        statuses.extend(requests.get(url, auth=("ann", PASSWORD), timeout=20).status_code for _ in range(5))

    threads = [threading.Thread(target=send_requests) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert statuses == [200] * 20


def test_guessing_address_is_refused_for_a_while_and_remembered_logins_are_not(tmp_path: Path) -> None:
    with running_world(tmp_path, authenticate=basic_strategy(tmp_path, wrong_per_minute=2)) as world:
        right, wrong = ("ann", PASSWORD), ("ann", "wrong")
        before = world.client.request("GET", "snapshots", auth=right)
        guesses = [world.client.request("GET", "snapshots", auth=wrong) for _ in range(3)]
        after = world.client.request("GET", "snapshots", auth=right)

    assert [each.status_code for each in (before, *guesses, after)] == [200, 401, 401, 429, 200]
    assert fault(guesses[2])[1:] == ("overLimit", "Too many wrong passwords from this address; try again later.")
    assert 1 <= int(guesses[2].headers["Retry-After"]) <= 60


def test_configuration_names_the_password_file(tmp_path: Path) -> None:
    text = (
        f"[api]\nauth_strategy = http_basic\n[oslo_middleware]\nhttp_basic_auth_user_file = {htpasswd(tmp_path, 10)}\n"
    )
    authenticate = pipeline.authentication(configured(tmp_path, text))
    request = request_from("192.0.2.1")
    request.env["HTTP_AUTHORIZATION"] = "Basic " + base64.b64encode(f"ann:{PASSWORD}".encode()).decode()

    assert authenticate(request, PROJECT).requester.user_id == "ann"


# keystone


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("tokens"), authenticate=by_token()) as world:
        yield world


@pytest.mark.parametrize("headers", [{}, {"X-Auth-Token": "garbage"}, {"X-Auth-Token": f"ann:{PROJECT}"}])
def test_request_without_a_valid_token_is_refused(tokens: World, headers: dict[str, str]) -> None:
    answer = tokens.client.get("snapshots", headers=headers)

    assert fault(answer)[:2] == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == CHALLENGE


@pytest.mark.parametrize(("service_token", "status"), [("service@services", 200), ("garbage", 401)])
def test_service_token_must_be_valid_too(tokens: World, service_token: str, status: int) -> None:
    headers = token("reader", PROJECT) | {"X-Service-Token": service_token}

    assert tokens.client.get("snapshots", headers=headers).status_code == status


def test_token_is_refused_while_too_many_are_validated_but_not_one_that_was_valid_lately(tmp_path: Path) -> None:
    validations = Validations(places=1, seconds=300)
    reader, other = token("reader", PROJECT), token("member", PROJECT)
    with running_world(tmp_path, authenticate=Keystone(FakeMiddleware, validations)) as world:
        assert world.client.get("snapshots", headers=reader).status_code == 200
        with validations.admitted("192.0.2.1", "a token that Keystone is validating"):
            answers = [world.client.get("snapshots", headers=headers) for headers in (other, reader, {})]

    assert [answer.status_code for answer in answers] == [429, 200, 401]
    assert answers[0].headers["Retry-After"] == "1"


@pytest.mark.parametrize("header", TOKENS)
def test_token_takes_a_place_in_each_header_that_keystonemiddleware_reads(tmp_path: Path, header: str) -> None:
    validations = Validations(places=1, seconds=300)
    with (
        running_world(tmp_path, authenticate=Keystone(FakeMiddleware, validations)) as world,
        validations.admitted("192.0.2.1", "a token that Keystone is validating"),
    ):
        answer = world.client.get("snapshots", headers={header: "invented"})

    assert answer.status_code == 429


def test_address_that_sent_a_refused_token_leaves_places_to_others(tmp_path: Path) -> None:
    validations = Validations(places=2, seconds=300)
    with (
        running_world(tmp_path, authenticate=Keystone(FakeMiddleware, validations)) as world,
        validations.admitted("192.0.2.1", "a token that Keystone is validating"),
    ):
        before = world.client.get("snapshots", headers={"X-Auth-Token": "invented"})
        after = world.client.get("snapshots", headers=token("reader", PROJECT))
        with validations.admitted("192.0.2.2", "from an address without a refused token"):
            pass

    assert [before.status_code, after.status_code] == [401, 429]


def test_forged_identity_headers_are_ignored(tokens: World) -> None:
    forged = {"X-Identity-Status": "Confirmed", "X-User-Id": "root", "X-Project-Id": PROJECT, "X-Roles": "admin"}

    assert fault(tokens.client.get("snapshots", headers=forged))[0] == 401
    allowed = tokens.client.get("os-snapshot-manage", headers=forged | token("reader", PROJECT))
    assert fault(allowed)[0] == 403


def test_token_without_a_project_is_refused_with_the_reason(tokens: World) -> None:
    answer = tokens.client.get("snapshots", headers=token("admin", ""))

    assert fault(answer) == (403, "forbidden", "The token has no project; request a token with project scope.")


@pytest.mark.parametrize("role", ["reader", "admin"])
def test_path_must_name_the_project_of_the_token(tokens: World, role: str) -> None:
    answer = tokens.client.get("snapshots", headers=token(role, OTHER_PROJECT))

    status, name, said = fault(answer)
    assert (status, name) == (400, "badRequest")
    assert said.startswith("Malformed request url")


def test_path_may_leave_the_project_to_the_token(tokens: World) -> None:
    assert tokens.client.get("/v3/snapshots", headers=token("reader", PROJECT)).json() == {"snapshots": []}


@pytest.mark.parametrize("path", OPEN)
@pytest.mark.parametrize("headers", [{}, {"X-Auth-Token": "garbage"}])
def test_discovery_needs_no_token(tokens: World, path: str, headers: dict[str, str]) -> None:
    assert tokens.client.get(path, headers=headers).status_code in (200, 300)


def test_unreachable_keystone_is_reported_as_unavailable(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v3"
        authenticate = pipeline.authentication(
            configured(tmp_path, "[api]\nauth_strategy = keystone\n" + KEYSTONE.format(auth_url=url))
        )
        with running_world(tmp_path, authenticate=authenticate) as world:
            answer = world.client.get("snapshots", headers={"X-Auth-Token": "any"})
            without = world.client.get("snapshots")
            discovery = world.client.get("/v3", headers={"X-Auth-Token": "any"})

    assert fault(answer)[:2] == (503, "serviceUnavailable")
    assert "Keystone can't be reached" in answer.text
    assert int(answer.headers["Retry-After"]) > 0
    assert fault(without)[0] == 401
    assert without.headers["WWW-Authenticate"] == 'Keystone uri="http://keystone.example/v3"'
    assert discovery.status_code == 200


def test_tokens_are_not_kept_in_the_cache_of_keystonemiddleware_which_has_no_limit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    conf = configured(tmp_path, "[api]\nauth_strategy = keystone\n" + KEYSTONE.format(auth_url="http://127.0.0.1:1/v3"))
    with running_world(tmp_path, authenticate=pipeline.authentication(conf)) as world:
        world.client.get("snapshots", headers={"X-Auth-Token": "any"})

    assert "in-process token cache" not in caplog.text


def test_silent_keystone_times_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v3"
        conf = configured(tmp_path, "[api]\nauth_strategy = keystone\n" + KEYSTONE.format(auth_url=url))
        with running_world(tmp_path, authenticate=pipeline.authentication(conf)) as world:
            answer = world.client.get("snapshots", headers={"X-Auth-Token": "any"})

    assert fault(answer)[:2] == (503, "serviceUnavailable")


@pytest.mark.parametrize("failure", [exceptions.EndpointNotFound(), webob.exc.HTTPServiceUnavailable()])
def test_other_failures_of_keystone_are_reported_as_unavailable(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(middleware: object, token: str) -> None:
        raise failure

    monkeypatch.setattr(auth_token.AuthProtocol, "fetch_token", fail)
    middleware = Middleware.__new__(Middleware)

    with pytest.raises(errors.Unavailable, match="Keystone can't be reached"):
        middleware.fetch_token("any")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "www_authenticate_uri is missing"),
        ("www_authenticate_uri = http://k/v3\n", "auth_type is missing"),
        ("www_authenticate_uri = http://k/v3\nauth_type = password\n", "auth_url"),
        ("www_authenticate_uri = http://k/v3\nauth_type = nonsense\n", "nonsense"),
    ],
)
def test_incomplete_configuration_of_keystone_is_reported_at_start(tmp_path: Path, text: str, why: str) -> None:
    conf = configured(tmp_path, f"[api]\nauth_strategy = keystone\n[keystone_authtoken]\n{text}")

    with pytest.raises(errors.ConfigurationError, match=why) as refusal:
        pipeline.authentication(conf)

    assert "[keystone_authtoken]" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_missing_package_is_reported_with_the_name_of_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keystonemiddleware", None)

    with pytest.raises(errors.ConfigurationError, match=r"install snapmanage\[keystone\]"):
        pipeline.authentication(configured(tmp_path, "[api]\nauth_strategy = keystone\n"))
