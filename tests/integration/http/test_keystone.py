"""Callers with tokens of a real Keystone, which the real middleware validates."""

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from cinderclient import client as cinder
from oslo_config import cfg

from snapmanage import conf as options
from snapmanage.api.access.keystone import Keystone as Strategy
from snapmanage.api.access.keystone import Middleware
from snapmanage.api.access.tokens import CACHE, TokenCache, Validations
from snapmanage.cmd.wiring import middleware
from snapmanage.testing.services.daemon import Daemon
from snapmanage.testing.services.process import free_port
from snapmanage.testing.waiting import until
from tests.functional.client import SERVER, Client, fault
from tests.functional.world import World, running_world
from tests.integration.clients.service import run_command
from tests.services.keystone import Keystone

SNAPSHOTS = ("volume-1-snapshot-1", "volume-1-snapshot-2")
# The middleware validates each token at each request, so that a revoked token is refused at once.
CONFIGURATION = """\
[api]
auth_strategy = keystone
[keystone_authtoken]
www_authenticate_uri = {url}
auth_type = password
auth_url = {url}
user_id = {user_id}
password = {password}
project_id = {project_id}
token_cache_time = -1
http_request_max_retries = 0
"""


def write_configuration(folder: Path, keystone: Keystone, url: str, more: str = "") -> Path:
    """Write a configuration with a user that may validate tokens, and return its path."""
    project_id = keystone.project()
    user_id, password = keystone.user("service", project_id)
    file = folder / "snapmanage.conf"
    file.write_text(CONFIGURATION.format(url=url, user_id=user_id, password=password, project_id=project_id) + more)
    return file


def configured(file: Path) -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    options.register(conf)
    conf(["--config-file", str(file)], default_config_files=[], default_config_dirs=[])
    return conf


@pytest.fixture(scope="module")
def project(keystone: Keystone) -> str:
    return keystone.project()


@pytest.fixture(scope="module")
def admin(keystone: Keystone, project: str) -> str:
    return keystone.token("admin", project)


@pytest.fixture(scope="module")
def reader(keystone: Keystone, project: str) -> str:
    return keystone.token("reader", project)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, keystone: Keystone, project: str, admin: str) -> Iterator[World]:
    """Run a world; its client is the administrator of the project."""
    folder = tmp_path_factory.mktemp("keystone")
    conf = configured(write_configuration(folder, keystone, keystone.url))
    with running_world(folder, authenticate=middleware.authentication(conf)) as made:
        made.client.project = project
        made.client.headers["X-Auth-Token"] = admin
        yield made


@pytest.fixture(scope="module")
def volume_id(world: World) -> str:
    return world.register_volume()


@pytest.fixture(scope="module")
def snapshot_id(world: World, volume_id: str) -> str:
    return world.manage_snapshot(volume_id, SNAPSHOTS[0])


def answer_to(
    world: World, token: str | None, path: str = "snapshots", project: str | None = None
) -> requests.Response:
    """Send a request with a token, and return the answer."""
    client = Client(world.client.root.removeprefix("http://"), project or world.client.project)
    return client.get(path, headers={} if token is None else {"X-Auth-Token": token})


def test_cinder_s_client_manages_with_a_session_of_keystone(
    world: World, keystone: Keystone, project: str, volume_id: str
) -> None:
    session = keystone.session(keystone.user("admin", project), project)
    client = cinder.Client("3.8", session=session, endpoint_override=f"{world.client.root}/v3/{project}")

    made = client.volume_snapshots.manage(volume_id, {"source-name": SNAPSHOTS[1]}, name="weekly")

    until(lambda: client.volume_snapshots.get(made.id).status == "available", "the snapshot to be available")
    shown = world.client.snapshot(made.id, version="3.41")
    assert shown["os-extended-snapshot-attributes:project_id"] == project
    assert shown["user_id"] == session.get_user_id()


@pytest.mark.parametrize("role", ["reader", "member"])
def test_reader_and_member_may_only_list_and_show(
    world: World, keystone: Keystone, project: str, snapshot_id: str, role: str
) -> None:
    headers = {"X-Auth-Token": keystone.token(role, project)}

    listed = world.client.get("snapshots", headers=headers).json()["snapshots"]
    shown = world.client.get(f"snapshots/{snapshot_id}", headers=headers)
    unmanaged = world.client.post(f"snapshots/{snapshot_id}/action", json={"os-unmanage": None}, headers=headers)
    manageable = world.client.get(f"os-snapshot-manage?host={SERVER}", headers=headers)

    assert snapshot_id in [each["id"] for each in listed]
    assert shown.status_code == 200
    text = "Policy doesn't allow snapshot_extension:{} to be performed."
    assert fault(unmanaged) == (403, "forbidden", text.format("snapshot_unmanage or snapshot_extension:snapshot_retry"))
    assert fault(manageable) == (403, "forbidden", text.format("list_manageable"))


def test_only_an_administrator_sees_other_projects(world: World, keystone: Keystone, snapshot_id: str) -> None:
    other = keystone.project()
    path = f"snapshots/{snapshot_id}"

    seen = {
        role: answer_to(world, keystone.token(role, other), path, other).status_code for role in ("admin", "reader")
    }

    assert seen == {"admin": 200, "reader": 404}


def test_path_must_name_the_project_of_the_token(world: World, admin: str, reader: str) -> None:
    for token in (admin, reader):
        status, name, text = fault(answer_to(world, token, project="f" * 32))

        assert (status, name) == (400, "badRequest")
        assert text.startswith("Malformed request url")


def test_missing_invented_or_changed_token_is_refused(world: World, keystone: Keystone, reader: str) -> None:
    for token in (None, "", "garbage", reader[:-8] + "AAAAAAAA", secrets.token_urlsafe(200)):
        answer = answer_to(world, token)

        assert fault(answer)[:2] == (401, "unauthorized"), token
        assert answer.headers["WWW-Authenticate"] == f'Keystone uri="{keystone.url}"'


def test_invalid_service_token_beside_a_valid_token_is_refused(
    world: World, keystone: Keystone, project: str, reader: str
) -> None:
    service = keystone.token("service", project)

    answers = [
        world.client.get("snapshots", headers={"X-Auth-Token": reader, "X-Service-Token": each})
        for each in (service, "garbage")
    ]

    assert [answer.status_code for answer in answers] == [200, 401]


def test_expired_token_is_refused(world: World, keystone: Keystone, reader: str) -> None:
    assert answer_to(world, reader).status_code == 200

    assert fault(answer_to(world, keystone.expire(reader)))[0] == 401


def test_revoked_token_is_refused(world: World, keystone: Keystone, project: str) -> None:
    token = keystone.token("reader", project)
    assert answer_to(world, token).status_code == 200

    keystone.revoke(token)

    assert fault(answer_to(world, token))[0] == 401


def test_accepted_tokens_are_kept_in_the_bounded_cache(tmp_path: Path, keystone: Keystone, reader: str) -> None:
    file = write_configuration(tmp_path, keystone, keystone.url)
    file.write_text(file.read_text().replace("token_cache_time = -1", "token_cache_time = 300"))
    conf = configured(file)
    cache = TokenCache(seconds=300)
    forced = {"oslo_config_config": conf, "delay_auth_decision": True, "cache": CACHE}
    middleware.authentication(conf)  # registers the options of the middleware
    strategy = Strategy(lambda application: Middleware(application, forced), Validations(1, 300), cache)
    with running_world(tmp_path, authenticate=strategy) as world:
        for _ in range(2):
            assert world.client.request("GET", "/v3/snapshots", headers={"X-Auth-Token": reader}).status_code == 200

    assert len(cache) == 1


def test_error_of_an_unscoped_token_requires_a_project_scope(world: World, keystone: Keystone, project: str) -> None:
    unscoped = str(keystone.session(keystone.user("admin", project), None).get_token())

    assert fault(answer_to(world, unscoped)) == (
        403,
        "forbidden",
        "The token has no project; request a token with project scope.",
    )


@pytest.mark.parametrize("path", ["/", "/v3", "/healthcheck"])
def test_discovery_requires_no_token_and_accepts_an_invalid_one(world: World, path: str) -> None:
    assert answer_to(world, None, path).status_code in (200, 300)
    assert answer_to(world, "garbage", path).status_code in (200, 300)


def test_valid_token_gets_503_while_keystone_is_down(
    tmp_path: Path, keystone: Keystone, project: str, admin: str
) -> None:
    conf = configured(write_configuration(tmp_path, keystone, f"http://127.0.0.1:{free_port()}/v3"))
    with running_world(tmp_path, authenticate=middleware.authentication(conf)) as world:
        answer = answer_to(world, admin, project=project)

    assert fault(answer)[:2] == (503, "serviceUnavailable")
    assert int(answer.headers["Retry-After"]) > 0


def test_valid_token_gets_503_while_the_service_s_own_password_is_wrong(
    tmp_path: Path, keystone: Keystone, project: str, admin: str
) -> None:
    file = write_configuration(tmp_path, keystone, keystone.url)
    file.write_text(file.read_text().replace("password = ", "password = wrong-"))
    with running_world(tmp_path, authenticate=middleware.authentication(configured(file))) as world:
        assert fault(answer_to(world, admin, project=project))[:2] == (503, "serviceUnavailable")
        assert fault(answer_to(world, None, project=project))[0] == 401


def test_api_process_accepts_tokens_and_logs_no_secret(
    tmp_path: Path, keystone: Keystone, project: str, admin: str
) -> None:
    more = (
        f"[DEFAULT]\ndebug = true\nlog_file = {tmp_path}/api.log\ntransport_url = rabbit://guest:guest@127.0.0.1:1/\n"
        f"[database]\nconnection = sqlite:///{tmp_path}/snapmanage.db\n[api]\nlisten = 0.0.0.0:0\n"
    )
    settings = write_configuration(tmp_path, keystone, keystone.url, more)
    programs = Path(sys.executable).parent
    command = [str(programs / "snapmanage-manage"), "--config-file", str(settings), "db", "sync"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    daemon = Daemon("api", [str(programs / "snapmanage-api"), "--config-file", str(settings)], tmp_path / "output")
    try:
        port = daemon.start().split()[1].rpartition(":")[2].partition("/")[0]
        client = Client(f"127.0.0.1:{port}", project)
        garbage = "garbage-" + secrets.token_urlsafe()

        answers = [client.get("snapshots", headers={"X-Auth-Token": token}) for token in (admin, garbage)]
    finally:
        daemon.close()

    assert [answer.status_code for answer in answers] == [200, 401]
    log = (tmp_path / "api.log").read_text() + (tmp_path / "output").read_text()
    assert answers[1].headers["X-Openstack-Request-Id"] in log
    [password] = [line for line in settings.read_text().splitlines() if line.startswith("password = ")]
    for secret in (admin, garbage, password.removeprefix("password = ")):
        assert secret not in log


def test_openstackclient_shows_and_sets_the_quotas_of_another_project(
    world: World, keystone: Keystone, project: str
) -> None:
    """The client looks the project up in Keystone, and the service in its catalog."""
    keystone.add_endpoint("block-storage", f"{world.client.root}/v3/$(project_id)s")
    user_id, password = keystone.user("admin", project)
    other = keystone.project()
    environment = {
        "OS_AUTH_TYPE": "password",
        "OS_AUTH_URL": keystone.url,
        "OS_USER_ID": user_id,
        "OS_PASSWORD": password,
        "OS_PROJECT_ID": project,
    }

    run_command("openstack", "quota", "set", "--snapshots", "7", other, environment=environment)
    shown = run_command(
        "openstack", "quota", "show", "--volume", "--usage", "-f", "json", other, environment=environment
    )
    run_command("openstack", "quota", "delete", "--volume", other, environment=environment)
    reset = run_command("openstack", "quota", "show", "--volume", "-f", "json", other, environment=environment)

    [usage] = [each for each in json.loads(shown) if each["Resource"] == "snapshots"]
    assert (usage["Limit"], usage["In Use"]) == (7, 0)
    assert {"Resource": "snapshots", "Limit": -1} in json.loads(reset)
