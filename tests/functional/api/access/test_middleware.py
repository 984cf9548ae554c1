"""Middleware of the API: headers for browsers, CORS, proxy headers, and a log with request ids."""

import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import bcrypt
import pytest
import requests
from oslo_middleware.cors import CORS

from snapmanage.api.access.log import AccessLog
from snapmanage.api.access.noauth import NoAuth
from snapmanage.cmd.wiring import middleware
from snapmanage.testing.services.daemon import Daemon
from tests.functional.api.access.test_authentication import configured
from tests.functional.callers import by_token, token
from tests.functional.client import PROJECT, fault
from tests.functional.databases import sqlite
from tests.functional.world import World, five_snapshots, running_world

ORIGIN = "https://dashboard.example"
FOLDER = Path(sys.executable).parent
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def shared_with_browsers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("cors")
    conf = configured(folder, f"[cors]\nallowed_origin = {ORIGIN}\n")
    with running_world(folder, authenticate=by_token(), around=lambda each: middleware.surround(conf, each)) as world:
        yield world


@pytest.fixture(scope="module")
def behind_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("proxy")
    conf = configured(folder, "[oslo_middleware]\nenable_proxy_headers_parsing = true\n")
    around = partial(middleware.surround, conf)
    with running_world(folder, authenticate=NoAuth(anywhere=True), around=around) as world:
        five_snapshots(world)
        yield world


def preflight(world: World, method: str, headers: str, origin: str = ORIGIN) -> requests.Response:
    asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return world.client.request("OPTIONS", "os-snapshot-manage", headers=asked)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_browser_s_preflight_needs_no_token(shared_with_browsers: World, method: str) -> None:
    wanted = "x-auth-token,authorization,openstack-api-version,content-type,idempotency-key,x-openstack-request-id"

    answer = preflight(shared_with_browsers, method, wanted)

    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Access-Control-Allow-Methods"] == method
    assert answer.headers["Access-Control-Allow-Headers"] == wanted


@pytest.mark.parametrize(
    ("method", "headers", "origin"),
    [("DELETE", "x-auth-token", ORIGIN), ("GET", "x-other", ORIGIN), ("GET", "x-auth-token", "https://evil.example")],
)
def test_preflight_answer_reveals_nothing_else(
    shared_with_browsers: World, method: str, headers: str, origin: str
) -> None:
    assert "Access-Control-Allow-Origin" not in preflight(shared_with_browsers, method, headers, origin).headers


def test_page_of_an_allowed_origin_may_read_answers_and_refusals(shared_with_browsers: World) -> None:
    served = shared_with_browsers.client.get("snapshots", headers={"Origin": ORIGIN} | token("reader", PROJECT))
    refused = shared_with_browsers.client.get("snapshots", headers={"Origin": ORIGIN})

    assert served.json() == {"snapshots": []}
    assert fault(refused)[0] == 401
    for answer in (served, refused):
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        exposed = {each.strip() for each in answer.headers["Access-Control-Expose-Headers"].split(",")}
        assert exposed >= {"X-Openstack-Request-Id", "OpenStack-API-Version", "Retry-After"}
        assert {each.strip() for each in answer.headers["Vary"].split(",")} >= {"Origin", "OpenStack-API-Version"}


def test_page_of_another_origin_may_not(shared_with_browsers: World) -> None:
    answer = shared_with_browsers.client.get("snapshots", headers={"Origin": "https://evil.example"})

    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("path", ["/", "/v3", "/healthcheck", "snapshots", "nowhere", "snapshots?" + "&" * 100])
def test_no_browser_renders_an_answer_and_no_cache_keeps_it(shared: World, path: str) -> None:
    headers = shared.client.get(path).headers

    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_accepted_request_is_answered_without_a_body_or_a_type(shared_with_browsers: World) -> None:
    shared_with_browsers.client.session.headers.update(token("admin", PROJECT))
    snapshot_id = shared_with_browsers.manage_snapshot(shared_with_browsers.register_volume(), "volume-1-snapshot-1")

    answer = shared_with_browsers.client.unmanage(snapshot_id)

    assert (answer.status_code, answer.content) == (202, b"")


FORWARDED = [
    {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "api.example", "X-Forwarded-Prefix": "/volume"},
    {"Forwarded": "for=127.0.0.1;proto=https;host=api.example", "X-Forwarded-Prefix": "/volume"},
]


@pytest.mark.parametrize("headers", FORWARDED)
def test_links_have_the_address_of_the_proxy(behind_proxy: World, headers: dict[str, str]) -> None:
    [version] = behind_proxy.client.get("/", headers=headers).json()["versions"]
    [link] = behind_proxy.client.get("snapshots?limit=2", headers=headers).json()["snapshots_links"]

    assert version["links"][0]["href"] == "https://api.example/volume/v3/"
    assert link["href"].startswith(f"https://api.example/volume/v3/{PROJECT}/snapshots?limit=2&marker=")


def test_prefix_of_a_proxy_may_have_255_characters(behind_proxy: World) -> None:
    prefix = "/" + "a" * 254

    [version] = behind_proxy.client.get("/", headers={"X-Forwarded-Prefix": prefix}).json()["versions"]

    assert version["links"][0]["href"].endswith(f"{prefix}/v3/")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-Forwarded-Host", "evil.example/<script>"),
        ("X-Forwarded-Proto", "javascript"),
        ("X-Forwarded-Prefix", "/<script>"),
        ("X-Forwarded-Prefix", "/" + "a" * 255),
        ("Forwarded", "proto=javascript;host=api.example"),
    ],
)
def test_malformed_proxy_headers_are_refused(behind_proxy: World, header: str, value: str) -> None:
    assert fault(behind_proxy.client.get("/v3", headers={header: value}))[:2] == (400, "badRequest")


def test_links_ignore_proxy_headers_without_a_proxy(behind_proxy: World, shared: World) -> None:
    for world, headers in ((behind_proxy, {}), (shared, FORWARDED[0])):
        [version] = world.client.get("/", headers=headers).json()["versions"]

        assert version["links"][0]["href"] == f"{world.client.root}/v3/"


def test_only_the_access_log_is_used_unless_more_is_configured(tmp_path: Path) -> None:
    application = object()

    for text in ("", "[cors]\nmax_age = 5\n", "[oslo_middleware]\nhttp_basic_auth_user_file = /x\n"):
        surrounded = middleware.surround(configured(tmp_path, text), application)

        assert isinstance(surrounded, AccessLog)
        assert surrounded.application is application


def test_start_imports_no_unused_middleware() -> None:
    look = (
        "import sys; from snapmanage.cmd import api; print([n for n in ('webob', 'keystoneauth1') if n in sys.modules])"
    )

    ended = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60, check=True)

    assert ended.stdout == "[]\n"


def test_environment_variables_can_configure_middleware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_CORS__ALLOWED_ORIGIN", ORIGIN)
    surrounded = middleware.surround(configured(tmp_path, ""), object())

    assert isinstance(surrounded.application, CORS)


# The API in a separate process with one thread, so that requests run one after the other.


@pytest.fixture
def api(tmp_path: Path) -> Iterator[str]:
    """Yield the URL of a project of an API with http_basic, which serves other machines too."""
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
    (tmp_path / "htpasswd").write_text(f"ann:{hashed}\n")
    settings = tmp_path / "snapmanage.conf"
    settings.write_text(
        f"[DEFAULT]\ntransport_url = rabbit://guest:guest@127.0.0.1:1/\nlog_file = {tmp_path}/api.log\n"
        f"[database]\nconnection = sqlite:///{tmp_path}/snapmanage.db\n"
        "[api]\nlisten = 0.0.0.0:0\nthreads = 1\nauth_strategy = http_basic\n"
        f"[oslo_middleware]\nhttp_basic_auth_user_file = {tmp_path}/htpasswd\n"
    )
    command = [str(FOLDER / "snapmanage-manage"), "--config-file", str(settings), "db", "sync"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    daemon = Daemon("api", [str(FOLDER / "snapmanage-api"), "--config-file", str(settings)], tmp_path / "output")
    try:
        port = daemon.start().split()[1].rpartition(":")[2].partition("/")[0]
        yield f"http://127.0.0.1:{port}/v3/{PROJECT}"
    finally:
        daemon.close()


def test_every_log_line_of_a_request_has_only_its_own_id(tmp_path: Path, api: str) -> None:
    global_id = "req-11111111-2222-3333-4444-555555555555"
    with closing(sqlite3.connect(tmp_path / "snapmanage.db")) as database:
        database.execute("ALTER TABLE snapshots RENAME TO elsewhere")

    failed = requests.get(f"{api}/snapshots", auth=("ann", PASSWORD), headers={"X-Openstack-Request-Id": global_id})
    refused = requests.get(f"{api}/snapshots", auth=("bob", PASSWORD))

    assert (failed.status_code, refused.status_code) == (500, 401)
    log = (tmp_path / "api.log").read_text()
    identity = rf"\[{global_id} {failed.headers['X-Openstack-Request-Id']} ann {PROJECT} [- ]*\]"
    assert re.search(rf"ERROR snapmanage\.api\.app {identity} Request failed unexpectedly", log)
    assert "no such table: snapshots" in log
    assert "ORDER BY" not in log  # only the beginning of the statement
    identity = rf"\[None {refused.headers['X-Openstack-Request-Id']} - - [- ]*\]"
    assert re.search(rf"INFO oslo_middleware\.basic_auth {identity} ", log)
    assert PASSWORD not in log
    assert PASSWORD not in (tmp_path / "output").read_text()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("listen = 0.0.0.0:0\n", "has no authentication, so listen must be a loopback address"),
        ("auth_strategy = http_basic\n", "[oslo_middleware] http_basic_auth_user_file: FOLDER/missing can't be read"),
        ("auth_strategy = keystone\n", "[keystone_authtoken] www_authenticate_uri is missing"),
    ],
)
def test_api_without_working_authentication_ends_with_one_error_line(tmp_path: Path, text: str, why: str) -> None:
    settings = tmp_path / "snapmanage.conf"
    settings.write_text(
        "[DEFAULT]\ntransport_url = rabbit://guest:guest@127.0.0.1:1/\n"
        f"[database]\nconnection = {sqlite(tmp_path)}\n"
        f"[oslo_middleware]\nhttp_basic_auth_user_file = {tmp_path}/missing\n"
        f"[api]\nlisten = 127.0.0.1:0\n{text}"
    )
    command = [str(FOLDER / "snapmanage-api"), "--config-file", str(settings)]

    ended = Daemon("api", command, tmp_path / "output", is_warm=True).run()

    assert ended.returncode == 1
    assert ended.stdout == ""
    [line] = ended.stderr.splitlines()
    assert line.startswith("error: ")
    assert why.replace("FOLDER", str(tmp_path)) in line
