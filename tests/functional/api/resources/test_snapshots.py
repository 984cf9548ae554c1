"""Managed snapshots over HTTP: show and list."""

from urllib.parse import urlsplit

import pytest

from snapmanage.core.records import Requester
from snapmanage.store import records
from tests.examples import snapshot
from tests.functional.client import PROJECT, Client, fault
from tests.functional.world import OTHER_PROJECT, World, five_snapshots

SNAPSHOT = "volume-1-snapshot-1"
SUMMARY = {"id", "created_at", "updated_at", "name", "description", "volume_id", "status", "size", "metadata"}
DETAIL = SUMMARY | {
    "os-extended-snapshot-attributes:progress",
    "os-extended-snapshot-attributes:project_id",
}


@pytest.mark.parametrize(
    ("version", "more"),
    [
        ("3.0", set()),
        ("3.13", set()),
        ("3.14", {"group_snapshot_id"}),
        ("3.40", {"group_snapshot_id"}),
        ("3.41", {"group_snapshot_id", "user_id"}),
        ("3.64", {"group_snapshot_id", "user_id"}),
        ("3.65", {"group_snapshot_id", "user_id", "consumes_quota"}),
        ("latest", {"group_snapshot_id", "user_id", "consumes_quota"}),
    ],
)
def test_snapshot_has_exactly_the_fields_of_its_version(
    shared: World, volume_id: str, version: str, more: set[str]
) -> None:
    snapshot_id = shared.request_manage(volume_id, f"fields-{version}")

    assert shared.client.snapshot(snapshot_id, version).keys() == DETAIL | more


def test_snapshot_shows_progress_and_quota_use(world: World) -> None:
    volume = world.register_volume()
    good = world.manage_snapshot(volume, SNAPSHOT)
    bad = world.request_manage(volume, "nowhere")
    world.await_settled(bad)

    shown = [world.client.snapshot(snapshot_id, "3.65") for snapshot_id in (good, bad)]

    assert [each["os-extended-snapshot-attributes:progress"] for each in shown] == ["100%", "0%"]
    assert [each["consumes_quota"] for each in shown] == [True, False]
    assert {each["os-extended-snapshot-attributes:project_id"] for each in shown} == {PROJECT}


def test_unknown_size_is_shown_as_zero(world: World) -> None:
    cast = snapshot(requester=Requester(PROJECT), size_gb=None)
    world.db.write(lambda conn, _: records.insert(conn, cast))

    assert world.client.snapshot(cast.id)["size"] == 0


def test_snapshot_shows_its_requester(world: World) -> None:
    volume = world.register_volume()
    snapshot_id = world.client.post(
        "os-snapshot-manage",
        json={"snapshot": {"volume_id": volume, "ref": SNAPSHOT}},
        headers={"X-Auth-Token": f"ann:{PROJECT}"},
    ).json()["snapshot"]["id"]

    assert world.client.snapshot(snapshot_id, "3.41")["user_id"] == "ann"


def test_token_without_a_user_is_not_stored(world: World) -> None:
    volume = world.register_volume()
    snapshot_id = world.client.post(
        "os-snapshot-manage",
        json={"snapshot": {"volume_id": volume, "ref": SNAPSHOT}},
        headers={"X-Auth-Token": "gAAAA-a-secret" * 30},
    ).json()["snapshot"]["id"]

    assert world.client.snapshot(snapshot_id, "3.41")["user_id"] == "admin"


def test_snapshots_are_listed_newest_first(world: World) -> None:
    made = five_snapshots(world)

    listed = world.client.get("snapshots").json()

    assert [each["id"] for each in listed["snapshots"]] == made
    assert all(each.keys() == SUMMARY for each in listed["snapshots"])
    assert "snapshots_links" not in listed


def test_pages_of_snapshots_are_linked(world: World) -> None:
    made = five_snapshots(world)
    seen: list[str] = []
    path = "snapshots/detail?limit=2&status=error"

    while path:
        page = world.client.get(path).json()
        seen += [each["id"] for each in page["snapshots"]]
        [link] = page.get("snapshots_links", [{"rel": "next", "href": ""}])
        assert link["rel"] == "next"
        path = link["href"].removeprefix(world.client.root)

    assert seen == made
    assert world.client.get("snapshots/detail?limit=5").json().keys() == {"snapshots"}


def test_link_keeps_to_the_path_without_a_project(world: World) -> None:
    five_snapshots(world)

    answer = world.client.get("/v3/snapshots?limit=1", headers={"X-Auth-Token": f"ann:{PROJECT}"})

    [link] = answer.json()["snapshots_links"]
    assert urlsplit(link["href"]).path == "/v3/snapshots"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name=n3", {"n3"}),
        ("status=error", {"n0", "n1", "n2", "n3", "n4"}),
        ("status=available", set()),
        ("volume_id=00000000-0000-0000-0000-000000000000", set()),
        ("name=n1&status=error", {"n1"}),
        ("all_tenants=0&project_id=x", {"n0", "n1", "n2", "n3", "n4"}),
        ("all_tenants=1&project_id=x", set()),
        ("offset=3", {"n0", "n1"}),
        ("limit=0", set()),
        ("limit=2&offset=1", {"n3", "n2"}),
    ],
)
def test_snapshots_are_filtered(listed: Client, query: str, expected: set[str]) -> None:
    answer = listed.get(f"snapshots?{query}")

    assert {each["name"] for each in answer.json()["snapshots"]} == expected


def test_empty_page_has_no_link(listed: Client) -> None:
    assert listed.get("snapshots?limit=0").json() == {"snapshots": []}


def test_count_works_from_its_microversion_on_and_covers_all_pages(listed: Client) -> None:
    before = listed.get("snapshots?with_count=true&limit=2", version="3.44").json()
    since = listed.get("snapshots?with_count=true&limit=2", version="3.45").json()
    filtered = listed.get("snapshots?with_count=True&name=n1", version="3.45").json()
    unasked = listed.get("snapshots?with_count=false", version="3.45").json()

    assert "count" not in before
    assert since["count"] == 5
    assert filtered["count"] == 1
    assert "count" not in unasked


def test_other_projects_see_no_snapshots(listed: Client) -> None:
    stranger = Client(listed.root.removeprefix("http://"), OTHER_PROJECT)

    answer = stranger.get("snapshots?with_count=1", version="3.45")

    stranger.close()
    assert answer.json() == {"snapshots": [], "count": 0}


def test_marker_of_another_project_is_a_bad_request(listed: Client) -> None:
    [mine] = listed.get("snapshots?limit=1").json()["snapshots"]
    stranger = Client(listed.root.removeprefix("http://"), OTHER_PROJECT)

    answer = stranger.get(f"snapshots?marker={mine['id']}")

    stranger.close()
    assert fault(answer)[:2] == (400, "badRequest")


@pytest.mark.parametrize(
    "query", ["limit=x", "limit=-1", "limit=", "offset=x", "offset=-1", "offset=99999999999999999999", "marker=nobody"]
)
def test_malformed_page_parameters_are_refused(listed: Client, query: str) -> None:
    answer = listed.get(f"snapshots?{query}")

    assert fault(answer)[:2] == (400, "badRequest")
