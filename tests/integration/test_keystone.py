"""Callers with tokens of a real Keystone, checked by the real middleware."""

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
from snapmanage.cmd.wiring import middleware
from snapmanage.testing.services.deployment import Daemon
from snapmanage.testing.services.process import free_port
from snapmanage.testing.waiting import until
from tests.functional.world import SERVER, Client, World, a_world, fault
from tests.services.keystone import Keystone

SNAPSHOTS = ("volume-1-snapshot-1", "volume-1-snapshot-2")
# Keystone is asked about each token each time, so that one may be revoked at any time.
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
    """A configuration whose own user may ask Keystone about tokens."""
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
    """A world whose client is the administrator of the project."""
    folder = tmp_path_factory.mktemp("keystone")
    conf = configured(write_configuration(folder, keystone, keystone.url))
    with a_world(folder, authenticate=middleware.authentication(conf)) as made:
        made.client.project = project
        made.client._session.headers["X-Auth-Token"] = admin
        yield made


@pytest.fixture(scope="module")
def volume_id(world: World) -> str:
    return world.known_volume()


@pytest.fixture(scope="module")
def snapshot_id(world: World, volume_id: str) -> str:
    return world.managed(volume_id, SNAPSHOTS[0])


def asked_with(
    world: World, token: str | None, path: str = "snapshots", project: str | None = None
) -> requests.Response:
    """What is answered to whoever has that token."""
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
def test_reader_and_member_list_and_show_and_no_more(
    world: World, keystone: Keystone, project: str, snapshot_id: str, role: str
) -> None:
    headers = {"X-Auth-Token": keystone.token(role, project)}

    listed = world.client.get("snapshots", headers=headers).json()["snapshots"]
    shown = world.client.get(f"snapshots/{snapshot_id}", headers=headers)
    unmanaged = world.client.post(f"snapshots/{snapshot_id}/action", json={"os-unmanage": None}, headers=headers)
    manageable = world.client.get(f"os-snapshot-manage?host={SERVER}", headers=headers)

    assert snapshot_id in [each["id"] for each in listed]
    assert shown.status_code == 200
    said = "Policy doesn't allow snapshot_extension:{} to be performed."
    assert fault(unmanaged) == (403, "forbidden", said.format("snapshot_unmanage"))
    assert fault(manageable) == (403, "forbidden", said.format("list_manageable"))


def test_other_projects_are_an_administrator_s_to_see_and_nobody_else_s(
    world: World, keystone: Keystone, snapshot_id: str
) -> None:
    other = keystone.project()
    path = f"snapshots/{snapshot_id}"

    seen = {
        role: asked_with(world, keystone.token(role, other), path, other).status_code for role in ("admin", "reader")
    }

    assert seen == {"admin": 200, "reader": 404}


def test_path_must_name_the_project_of_the_token(world: World, admin: str, reader: str) -> None:
    for token in (admin, reader):
        status, name, said = fault(asked_with(world, token, project="f" * 32))

        assert (status, name) == (400, "badRequest")
        assert said.startswith("Malformed request url")


def test_token_that_is_missing_made_up_or_changed_is_refused(world: World, keystone: Keystone, reader: str) -> None:
    for token in (None, "", "garbage", reader[:-8] + "AAAAAAAA", secrets.token_urlsafe(200)):
        answer = asked_with(world, token)

        assert fault(answer)[:2] == (401, "unauthorized"), token
        assert answer.headers["WWW-Authenticate"] == f'Keystone uri="{keystone.url}"'


def test_service_that_sends_a_token_along_must_be_good_too(
    world: World, keystone: Keystone, project: str, reader: str
) -> None:
    service = keystone.token("service", project)

    answers = [
        world.client.get("snapshots", headers={"X-Auth-Token": reader, "X-Service-Token": each})
        for each in (service, "garbage")
    ]

    assert [answer.status_code for answer in answers] == [200, 401]


def test_token_that_is_expired_is_refused(world: World, keystone: Keystone, reader: str) -> None:
    assert asked_with(world, reader).status_code == 200

    assert fault(asked_with(world, keystone.expired(reader)))[0] == 401


def test_token_that_is_revoked_is_refused(world: World, keystone: Keystone, project: str) -> None:
    token = keystone.token("reader", project)
    assert asked_with(world, token).status_code == 200

    keystone.revoke(token)

    assert fault(asked_with(world, token))[0] == 401


def test_token_for_no_project_says_what_is_missing(world: World, keystone: Keystone, project: str) -> None:
    unscoped = str(keystone.session(keystone.user("admin", project), None).get_token())

    assert fault(asked_with(world, unscoped)) == (
        403,
        "forbidden",
        "The token is for no project; ask for one with the scope of a project.",
    )


@pytest.mark.parametrize("path", ["/", "/v3", "/healthcheck"])
def test_discovery_asks_for_no_token_and_minds_no_bad_one(world: World, path: str) -> None:
    assert asked_with(world, None, path).status_code in (200, 300)
    assert asked_with(world, "garbage", path).status_code in (200, 300)


def test_good_token_is_told_to_come_back_while_keystone_is_away(
    tmp_path: Path, keystone: Keystone, project: str, admin: str
) -> None:
    conf = configured(write_configuration(tmp_path, keystone, f"http://127.0.0.1:{free_port()}/v3"))
    with a_world(tmp_path, authenticate=middleware.authentication(conf)) as world:
        answer = asked_with(world, admin, project=project)

    assert fault(answer)[:2] == (503, "serviceUnavailable")
    assert int(answer.headers["Retry-After"]) > 0


def test_good_token_is_told_to_come_back_while_our_own_password_is_wrong(
    tmp_path: Path, keystone: Keystone, project: str, admin: str
) -> None:
    file = write_configuration(tmp_path, keystone, keystone.url)
    file.write_text(file.read_text().replace("password = ", "password = wrong-"))
    with a_world(tmp_path, authenticate=middleware.authentication(configured(file))) as world:
        assert fault(asked_with(world, admin, project=project))[:2] == (503, "serviceUnavailable")
        assert fault(asked_with(world, None, project=project))[0] == 401


def test_api_on_its_own_takes_tokens_and_tells_no_secret(
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
