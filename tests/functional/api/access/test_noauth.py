"""`noauth` over HTTP: pages in a browser, proxies and UNIX sockets; and requests that must change nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from snapmanage.api import routes
from snapmanage.cmd.wiring import middleware as pipeline
from snapmanage.store.mapping import tables
from tests.functional.api.access.test_authentication import configured
from tests.functional.client import SERVER, fault
from tests.functional.world import World, running_world

PAGE = "https://dashboard.example"


@pytest.fixture(scope="module")
def with_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("page")
    conf = configured(folder, f"[cors]\nallowed_origin = {PAGE}\n")
    strategy = pipeline.authentication(conf)
    with running_world(folder, authenticate=strategy, around=lambda each: pipeline.surround(conf, each)) as world:
        yield world


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example:8776"},
        {"Host": "evil.example:8776", "Origin": "http://evil.example:8776"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"X-Forwarded-For": "203.0.113.9"},
        {"Forwarded": "for=203.0.113.9"},
        {"Via": "1.1 proxy"},
    ],
    ids=str,
)
def test_request_from_elsewhere_changes_nothing(world: World, headers: dict[str, str]) -> None:
    volume = {"volume": {"host": SERVER, "ref": "volume-1"}}

    refused = world.client.post("os-volume-manage", json=volume, headers=headers)

    assert fault(refused)[:2] == (403, "forbidden")
    assert world.client.get("volumes").json() == {"volumes": []}


@pytest.mark.parametrize("path", ["/", "/v3", "/healthcheck", "/v3/openapi.json"])
def test_open_resources_are_the_same_for_every_caller(shared: World, path: str) -> None:
    headers = {"Origin": "http://evil.example", "X-Forwarded-For": "203.0.113.9"}

    assert shared.client.get(path, headers=headers).json() == shared.client.get(path).json()


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "PUT", "DELETE"])
def test_method_that_no_resource_has_shows_a_foreign_page_only_the_allowed_methods(shared: World, method: str) -> None:
    own = shared.client.request(method, "snapshots")
    foreign = shared.client.request(method, "snapshots", headers={"Origin": "http://evil.example"})

    assert (foreign.status_code, foreign.content) == (own.status_code, own.content)
    assert b"snapshots" not in foreign.content
    assert [name for name in foreign.headers if name.lower().startswith("access-control-")] == []


def test_page_of_an_allowed_origin_may_read_and_others_may_not(with_page: World) -> None:
    allowed = with_page.client.get("snapshots", headers={"Origin": PAGE})
    foreign = with_page.client.get("snapshots", headers={"Origin": "https://evil.example"})

    assert (allowed.json(), allowed.headers["Access-Control-Allow-Origin"]) == ({"snapshots": []}, PAGE)
    assert fault(foreign)[0] == 403


@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.1", "127.0.0.1, 192.0.2.1"])
def test_forwarded_request_is_refused_by_an_api_that_reads_the_headers_of_proxies(tmp_path: Path, address: str) -> None:
    conf = configured(tmp_path, "[oslo_middleware]\nenable_proxy_headers_parsing = true\n")
    with running_world(tmp_path, around=lambda application: pipeline.surround(conf, application)) as world:
        answer = world.client.get("snapshots", headers={"X-Forwarded-For": address})

    assert fault(answer)[0] == 403
    assert "a proxy has forwarded" in answer.text


def test_noauth_anywhere_serves_other_machines(tmp_path: Path) -> None:
    anywhere = pipeline.authentication(configured(tmp_path, "[api]\nnoauth_anywhere = true\n"))
    with running_world(tmp_path, authenticate=anywhere) as world:
        answer = world.client.get("snapshots", headers={"X-Forwarded-For": "203.0.113.9", "Host": "api.example"})

    assert answer.json() == {"snapshots": []}


def test_no_get_request_changes_a_record(world: World) -> None:
    volume_id = world.register_volume()
    snapshot_id = world.manage_snapshot(volume_id, "volume-1-snapshot-1")
    world.audited_events(snapshot_id, ".end")
    world.await_empty_outbox()
    ids = {"{snapshot_id}": snapshot_id, "{volume_id}": volume_id, "{message_id}": snapshot_id}
    before = rows(world)

    for path in [path for path, route in routes.PROJECT.items() if "GET" in route.methods]:
        for placeholder, record_id in ids.items():
            path = path.replace(placeholder, record_id)
        world.client.get(f"{path[1:]}?host={SERVER}", version="3.71")

    assert rows(world) == before


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_type_of_a_form_is_refused(shared: World, content_type: str) -> None:
    answer = shared.client.post("os-volume-manage", data=b"{}", headers={"Content-Type": content_type})

    assert answer.status_code == 415


def rows(world: World) -> dict[str, list[Any]]:
    """Return every row of the database, except for the heartbeats of servers."""
    with world.db.read() as conn:
        return {
            name: [tuple(row) for row in conn.execute(select(table))]
            for name, table in tables.metadata.tables.items()
            if table is not tables.services
        }
