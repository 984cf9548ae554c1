"""The REST API as clients meet it, over HTTP: what it answers, and what then becomes true."""

import json
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from sqlalchemy.exc import OperationalError

from snapmanage import errors
from snapmanage.api.call import Limits
from snapmanage.core.backend import GIB, Unsafe
from snapmanage.core.quota import Amount
from snapmanage.core.reference import Reference
from snapmanage.drivers.fake import FakeDriver
from snapmanage.manage.site import Rules
from tests.functional.world import (
    OTHER_PROJECT,
    PROJECT,
    SERVER,
    VOLUME,
    Client,
    World,
    a_world,
)
from tests.waiting import until

SNAPSHOT = "volume-1-snapshot-1"
SUMMARY = {"id", "created_at", "updated_at", "name", "description", "volume_id", "status", "size", "metadata"}
DETAIL = SUMMARY | {
    "os-extended-snapshot-attributes:progress",
    "os-extended-snapshot-attributes:project_id",
}
JSON = {"Content-Type": "application/json"}


def fault(answer: requests.Response) -> tuple[int, str, str]:
    """Status, name and text of an error, which always has the one shape."""
    [(name, said)] = answer.json().items()
    assert said.keys() == {"code", "message"}
    assert said["code"] == answer.status_code
    assert "Traceback" not in answer.text
    assert answer.headers["X-Openstack-Request-Id"].startswith("req-")
    return answer.status_code, name, said["message"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world for tests that leave nothing behind which another could notice."""
    with a_world(tmp_path_factory.mktemp("shared"), limits=Limits(body=4096)) as world:
        yield world


@pytest.fixture(scope="module")
def volume_id(shared: World) -> str:
    return shared.known_volume()


# Managing.


def test_managed_snapshot_becomes_available_under_its_new_name(world: World) -> None:
    volume = world.known_volume()

    answer = world.client.manage(volume, {"source-name": SNAPSHOT}, name="daily", metadata={"a": "b"})

    assert answer.status_code == 202
    asked = answer.json()["snapshot"]
    assert asked.keys() == SUMMARY
    assert (asked["status"], asked["name"], asked["volume_id"]) == ("creating", "daily", volume)
    shown = world.settled(asked["id"])
    assert (shown["status"], shown["size"], shown["metadata"]) == ("available", 1, {"a": "b"})
    assert [seen.name for seen in world.driver.list_snapshots() if seen.name.startswith("snapshot-")] == [
        f"snapshot-{asked['id']}"
    ]
    assert world.trail(asked["id"], ".end") == ["snapshot.manage.start", "snapshot.manage.end"]


def test_text_is_a_reference_by_name(world: World) -> None:
    snapshot_id = world.managed(world.known_volume(), SNAPSHOT)

    assert world.client.operation(snapshot_id)["reference"] == {"source-name": SNAPSHOT}


def test_name_is_kept_as_it_was_sent(shared: World, volume_id: str) -> None:
    answer = shared.client.manage(volume_id, "kept-name", name="  \U0001f600 ")

    assert answer.json()["snapshot"]["name"] == "  \U0001f600 "


def test_reference_that_is_under_way_is_refused(world: World) -> None:
    volume = world.known_volume()
    world.bus.away = True
    world.asked(volume, SNAPSHOT)

    second = world.client.manage(volume, {"source-name": SNAPSHOT})

    assert fault(second)[:2] == (409, "conflictingRequest")


def test_reference_that_is_managed_is_refused(world: World) -> None:
    volume = world.known_volume()
    world.managed(volume, SNAPSHOT)

    second = world.client.manage(volume, SNAPSHOT)

    assert fault(second)[:2] == (409, "conflictingRequest")


def test_managed_snapshot_is_refused_under_its_new_name_too(world: World) -> None:
    volume = world.known_volume()
    first = world.managed(volume, SNAPSHOT)

    second = world.asked(volume, f"snapshot-{first}")

    assert world.settled(second)["status"] == "error"
    assert world.client.operation(second)["reason_code"] == "already_managed"
    assert world.client.snapshot(first)["status"] == "available"


def test_bad_reference_ends_in_error_and_says_why(world: World) -> None:
    snapshot_id = world.asked(world.known_volume(), "nowhere")

    assert world.settled(snapshot_id)["status"] == "error"
    operation = world.client.operation(snapshot_id)
    assert (operation["reason_code"], operation["attempt"]) == ("source_not_found", 1)
    assert "nowhere" in operation["reason"]
    [told] = world.client.messages(snapshot_id)
    assert told["user_message"] == f"manage snapshot: {operation['reason']}"
    assert world.trail(snapshot_id, ".error") == ["snapshot.manage.start", "snapshot.manage.error"]


def test_reference_that_failed_may_be_asked_for_again(world: World) -> None:
    volume = world.known_volume()
    world.settled(world.asked(volume, "later"))
    world.driver.add_snapshot(VOLUME, "later")

    again = world.asked(volume, "later")

    assert world.settled(again)["status"] == "available"


def test_snapshot_of_another_volume_is_refused(world: World) -> None:
    world.driver.add_volume("volume-2")
    world.driver.add_snapshot("volume-2", "foreign")

    snapshot_id = world.asked(world.known_volume(), "foreign")

    assert world.settled(snapshot_id)["status"] == "error"
    assert world.client.operation(snapshot_id)["reason_code"] == "wrong_volume"


def test_snapshot_in_use_is_refused_and_keeps_its_name(world: World) -> None:
    world.driver.mark(SNAPSHOT, Unsafe.IN_USE)

    snapshot_id = world.asked(world.known_volume(), SNAPSHOT)

    assert world.settled(snapshot_id)["status"] == "error"
    assert world.client.operation(snapshot_id)["reason_code"] == "in_use"
    assert SNAPSHOT in {seen.name for seen in world.driver.list_snapshots()}


def test_request_is_accepted_while_the_bus_is_away_and_carried_out_when_it_is_back(world: World) -> None:
    volume = world.known_volume()
    world.bus.away = True

    answer = world.client.manage(volume, SNAPSHOT)

    assert answer.status_code == 202
    world.bus.away = False
    world.clock.advance(minutes=2)
    assert world.settled(answer.json()["snapshot"]["id"])["status"] == "available"


def test_volume_that_is_not_available_yet_takes_no_snapshots(world: World) -> None:
    world.bus.away = True
    volume = world.client.manage_volume(VOLUME).json()["volume"]["id"]

    answer = world.client.manage(volume, SNAPSHOT)

    status, name, text = fault(answer)
    assert (status, name) == (400, "badRequest")
    assert "creating" in text


def test_volume_of_another_project_is_not_found(shared: World, volume_id: str) -> None:
    stranger = shared.another_client(OTHER_PROJECT)

    answer = stranger.manage(volume_id, SNAPSHOT)

    stranger.close()
    assert fault(answer) == (404, "itemNotFound", f"Volume {volume_id} could not be found.")


def test_snapshot_of_another_project_is_not_found(world: World) -> None:
    snapshot_id = world.managed(world.known_volume(), SNAPSHOT)
    stranger = world.another_client(OTHER_PROJECT)

    answers = [
        stranger.get(f"snapshots/{snapshot_id}"),
        stranger.get(f"snapshots/{snapshot_id}/operation"),
        stranger.unmanage(snapshot_id),
    ]

    stranger.close()
    assert {fault(answer)[0] for answer in answers} == {404}
    assert world.client.snapshot(snapshot_id)["status"] == "available"


def test_volume_is_shown_to_its_own_project_only(shared: World, volume_id: str) -> None:
    stranger = shared.another_client(OTHER_PROJECT)

    answer = stranger.get(f"volumes/{volume_id}")

    stranger.close()
    assert fault(answer)[0] == 404


def test_disabled_server_takes_no_new_requests(world: World) -> None:
    volume = world.known_volume()
    world.disable(SERVER, "maintenance")

    answers = [
        world.client.manage(volume, SNAPSHOT),
        world.client.manage_volume("volume-2"),
        world.client.get(f"os-snapshot-manage?host={SERVER}"),
    ]

    assert {fault(answer) for answer in answers} == {(400, "badRequest", "Service is unavailable at this time.")}


def test_overdue_heartbeat_refuses_new_requests(world: World) -> None:
    volume = world.known_volume()
    managed = world.managed(volume, SNAPSHOT)
    world.clock.advance(hours=2)

    answers = [
        world.client.manage(volume, "volume-1-snapshot-2"),
        world.client.unmanage(managed),
        world.client.manage_volume("volume-2"),
        world.client.get(f"os-snapshot-manage?host={SERVER}"),
    ]

    assert {fault(answer) for answer in answers} == {(400, "badRequest", "Service is unavailable at this time.")}


def test_quota_counts_what_is_managed_and_what_is_under_way(tmp_path: Path) -> None:
    with a_world(tmp_path, rules=Rules(quota=Amount(snapshots=2, gigabytes=-1))) as world:
        volume = world.known_volume()
        world.managed(volume, SNAPSHOT)
        world.bus.away = True
        world.asked(volume, "volume-1-snapshot-2")

        third = world.client.manage(volume, "volume-1-snapshot-3")

        assert fault(third)[:2] == (413, "overLimit")


def test_quota_of_gigabytes_counts_the_volumes_size(tmp_path: Path) -> None:
    driver = FakeDriver(fake_volumes=0)
    driver.add_volume(VOLUME, 5 * GIB)
    with a_world(tmp_path, {SERVER: driver}, rules=Rules(quota=Amount(snapshots=-1, gigabytes=4))) as world:
        answer = world.client.manage(world.known_volume(), "any")

        assert fault(answer)[:2] == (413, "overLimit")


def test_what_is_given_back_counts_no_more(tmp_path: Path) -> None:
    with a_world(tmp_path, rules=Rules(quota=Amount(snapshots=1, gigabytes=-1))) as world:
        volume = world.known_volume()
        first = world.managed(volume, SNAPSHOT)
        world.client.unmanage(first)
        world.given_back(first)

        second = world.client.manage(volume, SNAPSHOT)

        assert second.status_code == 202


# Giving back.


def test_unmanaged_snapshot_has_its_old_name_and_is_shown_no_more(world: World) -> None:
    snapshot_id = world.managed(world.known_volume(), SNAPSHOT)

    answer = world.client.unmanage(snapshot_id)

    assert (answer.status_code, answer.content) == (202, b"")
    world.given_back(snapshot_id)
    assert SNAPSHOT in {seen.name for seen in world.driver.list_snapshots()}
    assert world.client.get("snapshots").json() == {"snapshots": []}
    assert world.trail(snapshot_id, "unmanage.end")[2:] == ["snapshot.unmanage.start", "snapshot.unmanage.end"]


def test_unmanaging_twice_finds_nothing_the_second_time(world: World) -> None:
    snapshot_id = world.managed(world.known_volume(), SNAPSHOT)
    world.client.unmanage(snapshot_id)
    world.given_back(snapshot_id)

    again = world.client.unmanage(snapshot_id)

    assert fault(again) == (404, "itemNotFound", f"Snapshot {snapshot_id} could not be found.")


def test_unmanaged_snapshot_may_be_managed_again(world: World) -> None:
    volume = world.known_volume()
    first = world.managed(volume, SNAPSHOT)
    world.client.unmanage(first)
    world.given_back(first)

    second = world.asked(volume, SNAPSHOT)

    assert world.settled(second)["status"] == "available"


def test_snapshot_under_way_is_not_unmanaged(world: World) -> None:
    volume = world.known_volume()
    world.bus.away = True
    snapshot_id = world.asked(volume, SNAPSHOT)

    answer = world.client.unmanage(snapshot_id)

    status, name, text = fault(answer)
    assert (status, name) == (400, "badRequest")
    assert "creating" in text


def test_snapshot_in_error_can_be_cleared_away(world: World) -> None:
    snapshot_id = world.asked(world.known_volume(), "nowhere")
    world.settled(snapshot_id)

    answer = world.client.unmanage(snapshot_id)

    assert answer.status_code == 202
    world.given_back(snapshot_id)


def test_snapshot_that_can_not_be_given_back_stays_owned_and_says_why(world: World) -> None:
    volume = world.known_volume()
    snapshot_id = world.managed(volume, SNAPSHOT)
    world.driver.add_snapshot(VOLUME, SNAPSHOT)

    world.client.unmanage(snapshot_id)

    assert until(lambda: world.client.snapshot(snapshot_id)["status"] == "error", "the unmanage to fail")
    assert world.client.operation(snapshot_id)["reason_code"] == "name_taken"
    assert fault(world.client.manage(volume, SNAPSHOT))[0] == 409


@pytest.mark.parametrize(
    "body",
    [
        {"os-unmanage": {"force": True}},
        {"os-unmanage": ""},
        {"os-reset_status": {"status": "available"}},
        {"os-unmanage": None, "os-delete": None},
        {},
        [],
    ],
)
def test_other_actions_are_refused(shared: World, body: Any) -> None:
    answer = shared.client.post(f"snapshots/{uuid.uuid4()}/action", json=body)

    assert fault(answer)[:2] == (400, "badRequest")


@pytest.mark.parametrize("nothing", [None, {}])
def test_unmanage_takes_null_and_an_empty_object(world: World, nothing: Any) -> None:
    snapshot_id = world.managed(world.known_volume(), SNAPSHOT)

    answer = world.client.post(f"snapshots/{snapshot_id}/action", json={"os-unmanage": nothing})

    assert answer.status_code == 202


# Registering volumes.


def test_registered_volume_becomes_available_with_its_size_and_keeps_its_name(world: World) -> None:
    world.driver.add_volume("volume-2", 5 * GIB - 1)

    answer = world.client.manage_volume({"source-name": "volume-2"}, host=f"{SERVER}#pool", name="disk")

    assert answer.status_code == 202
    asked = answer.json()["volume"]
    assert (asked["status"], asked["name"]) == ("creating", "disk")
    until(lambda: world.client.volume(asked["id"])["status"] == "available", "the volume to be available")
    shown = world.client.volume(asked["id"])
    assert (shown["size"], shown["os-vol-host-attr:host"]) == (5, f"{SERVER}#pool")
    assert world.driver.find_volume(Reference.named("volume-2")).size_bytes == 5 * GIB - 1


def test_volume_is_registered_once(world: World) -> None:
    world.known_volume()

    again = world.client.manage_volume(VOLUME)

    assert fault(again)[:2] == (409, "conflictingRequest")


def test_volume_that_is_not_there_ends_in_error_and_says_why(world: World) -> None:
    volume = world.client.manage_volume("nowhere").json()["volume"]["id"]

    until(lambda: world.client.volume(volume)["status"] == "error", "the volume to be in error")
    [told] = world.client.messages(volume)
    assert (told["event_id"], told["resource_type"]) == ("VOLUME_MANAGE_SOURCE_NOT_FOUND", "VOLUME")
    assert "nowhere" in told["user_message"]


def test_snapshot_is_no_volume(world: World) -> None:
    volume = world.client.manage_volume(SNAPSHOT).json()["volume"]["id"]

    until(lambda: world.client.volume(volume)["status"] == "error", "the volume to be in error")
    assert world.client.messages(volume)[0]["event_id"] == "VOLUME_MANAGE_NOT_A_VOLUME"


def test_fields_clients_send_along_are_taken_and_mean_nothing(world: World) -> None:
    sent: dict[str, Any] = {"volume_type": None, "availability_zone": "nova", "bootable": False, "metadata": None}

    answer = world.client.manage_volume(VOLUME, **sent)

    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"host": "nobody@nowhere"}, 404),
        ({"host": "nobody"}, 404),
        ({"host": "a@b@c"}, 400),
        ({"host": ""}, 400),
        ({"ref": {}}, 400),
        ({"size": 1}, 400),
        ({"cluster": "c"}, 400),
    ],
)
def test_volumes_that_can_not_be_meant_are_refused(shared: World, fields: dict[str, Any], status: int) -> None:
    answer = shared.client.post("os-volume-manage", json={"volume": {"host": SERVER, "ref": "x"} | fields})

    assert fault(answer)[0] == status


# Listing what could be managed.


def test_listing_says_what_is_managed_already_and_by_whom(world: World) -> None:
    snapshot_id = world.managed(world.known_volume(), SNAPSHOT)

    by_name = {entry["reference"]["source-name"]: entry for entry in world.client.manageable()}

    assert by_name.keys() == {f"snapshot-{snapshot_id}", "volume-1-snapshot-2", "volume-1-snapshot-3"}
    managed = by_name[f"snapshot-{snapshot_id}"]
    assert managed == {
        "reference": {"source-name": f"snapshot-{snapshot_id}"},
        "source_reference": {"source-name": VOLUME},
        "size": 1,
        "safe_to_manage": False,
        "reason_not_safe": "already managed",
        "cinder_id": snapshot_id,
        "extra_info": None,
    }
    assert by_name["volume-1-snapshot-2"]["safe_to_manage"] is True


def test_plain_listing_shows_four_fields(shared: World) -> None:
    answer = shared.client.get(f"os-snapshot-manage?host={SERVER}")

    entries = answer.json()["manageable-snapshots"]
    assert len(entries) == 3
    assert all(entry.keys() == {"reference", "size", "safe_to_manage", "source_reference"} for entry in entries)


def test_listing_goes_by_reference_downwards_unless_told_otherwise(shared: World) -> None:
    names = [entry["reference"]["source-name"] for entry in shared.client.manageable()]

    assert names == ["volume-1-snapshot-3", "volume-1-snapshot-2", "volume-1-snapshot-1"]


@pytest.mark.parametrize("order", [{"sort": "size:asc,reference:asc"}, {"sort_key": "reference", "sort_dir": "asc"}])
def test_listing_is_sorted_as_asked(shared: World, order: dict[str, str]) -> None:
    names = [entry["reference"]["source-name"] for entry in shared.client.manageable(**order)]

    assert names == ["volume-1-snapshot-1", "volume-1-snapshot-2", "volume-1-snapshot-3"]


def test_pages_of_a_listing_join_up(shared: World) -> None:
    first = shared.client.manageable(limit=2)
    marker = json.dumps(first[-1]["reference"])

    second = shared.client.manageable(limit=2, marker=marker)

    assert first + second == shared.client.manageable()


def test_page_is_never_larger_than_the_limit_of_the_server(tmp_path: Path) -> None:
    with a_world(tmp_path, limits=Limits(page=2)) as world:
        assert len(world.client.manageable(limit=100)) == 2
        assert len(world.client.manageable(limit=10**30)) == 2


def test_of_a_repeated_parameter_the_last_counts(shared: World) -> None:
    answer = shared.client.get(f"os-snapshot-manage?host=nobody@nowhere&host={SERVER}")

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "marker",
    [
        "zzz",
        "{}",
        "[]",
        '{"source-name": "nowhere"}',
        '{"source-name": "\\ud800"}',
        '{"a": NaN}',
        '{"a": ' + "[" * 900 + "]" * 900 + "}",
        '{"a": ' + "9" * 5000 + "}",
    ],
)
def test_marker_that_names_no_entry_is_a_bad_request(shared: World, marker: str) -> None:
    answer = shared.client.get("os-snapshot-manage", params={"host": SERVER, "marker": marker})

    assert fault(answer)[:2] == (400, "badRequest")


def test_unknown_host_is_not_found(shared: World) -> None:
    answer = shared.client.get("os-snapshot-manage?host=nobody@nowhere")

    assert fault(answer)[:2] == (404, "itemNotFound")


def test_bare_host_with_several_backends_is_ambiguous(tmp_path: Path) -> None:
    backends = {"storage-1@fast": FakeDriver(), "storage-1@slow": FakeDriver()}
    with a_world(tmp_path, backends) as world:
        answer = world.client.get("os-snapshot-manage?host=storage-1")

        status, _, text = fault(answer)
        assert status == 400
        assert "storage-1@fast, storage-1@slow" in text


def test_cluster_is_unknown_from_the_version_that_has_clusters(shared: World) -> None:
    before = shared.client.get(f"os-snapshot-manage?host={SERVER}&cluster=c", version="3.16")
    since = shared.client.get("os-snapshot-manage?cluster=c", version="3.17")

    assert (before.status_code, fault(since)[0]) == (200, 404)


def test_listing_of_a_server_that_does_not_answer_says_when_to_come_again(shared: World) -> None:
    shared.heard_of("storage-2@silent")

    answer = shared.client.get("os-snapshot-manage?host=storage-2@silent")

    assert fault(answer)[:2] == (503, "serviceUnavailable")
    assert int(answer.headers["Retry-After"]) > 0


def test_listing_while_the_bus_is_away_says_when_to_come_again(world: World) -> None:
    world.bus.away = True

    answer = world.client.get(f"os-snapshot-manage?host={SERVER}")

    assert fault(answer)[:2] == (503, "serviceUnavailable")
    assert int(answer.headers["Retry-After"]) > 0


def test_listing_is_given_up_when_the_backend_hangs(tmp_path: Path) -> None:
    with a_world(tmp_path, call_timeout_seconds=0.1) as world:
        with world.stuck("list"):
            answer = world.client.get(f"os-snapshot-manage?host={SERVER}")

        assert fault(answer)[:2] == (503, "serviceUnavailable")


@pytest.mark.parametrize("failure", [errors.BackendUnavailable("the backend is away"), KeyError("oops"), OSError("no")])
def test_failing_backend_is_an_error_and_never_an_empty_list(world: World, failure: Exception) -> None:
    world.failing({"list": failure})

    answer = world.client.get(f"os-snapshot-manage?host={SERVER}")

    assert fault(answer)[:2] == (503, "serviceUnavailable")
    assert "Retry-After" in answer.headers
    assert "oops" not in answer.text


# Showing and listing what is managed.


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
    snapshot_id = shared.asked(volume_id, f"fields-{version}")

    assert shared.client.snapshot(snapshot_id, version).keys() == DETAIL | more


def test_snapshot_shows_whether_it_is_done_and_counts(world: World) -> None:
    volume = world.known_volume()
    good = world.managed(volume, SNAPSHOT)
    bad = world.asked(volume, "nowhere")
    world.settled(bad)

    shown = [world.client.snapshot(snapshot_id, "3.65") for snapshot_id in (good, bad)]

    assert [each["os-extended-snapshot-attributes:progress"] for each in shown] == ["100%", "0%"]
    assert [each["consumes_quota"] for each in shown] == [True, False]
    assert {each["os-extended-snapshot-attributes:project_id"] for each in shown} == {PROJECT}


def test_snapshot_remembers_who_asked(world: World) -> None:
    volume = world.known_volume()
    snapshot_id = world.client.post(
        "os-snapshot-manage",
        json={"snapshot": {"volume_id": volume, "ref": SNAPSHOT}},
        headers={"X-Auth-Token": f"ann:{PROJECT}"},
    ).json()["snapshot"]["id"]

    assert world.client.snapshot(snapshot_id, "3.41")["user_id"] == "ann"


def test_token_that_names_nobody_is_not_kept(world: World) -> None:
    volume = world.known_volume()
    snapshot_id = world.client.post(
        "os-snapshot-manage",
        json={"snapshot": {"volume_id": volume, "ref": SNAPSHOT}},
        headers={"X-Auth-Token": "gAAAA-a-secret" * 30},
    ).json()["snapshot"]["id"]

    assert world.client.snapshot(snapshot_id, "3.41")["user_id"] == "admin"


def five_snapshots(world: World) -> list[str]:
    """Ids, newest first."""
    volume = world.known_volume()
    made = [world.asked(volume, f"nowhere-{number}", name=f"n{number}") for number in range(5)]
    for snapshot_id in made:
        world.settled(snapshot_id)
    return made[::-1]


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
        ("all_tenants=1&project_id=x", {"n0", "n1", "n2", "n3", "n4"}),
        ("offset=3", {"n0", "n1"}),
        ("limit=0", set()),
        ("limit=2&offset=1", {"n3", "n2"}),
    ],
)
def test_snapshots_are_filtered(listed: Client, query: str, expected: set[str]) -> None:
    answer = listed.get(f"snapshots?{query}")

    assert {each["name"] for each in answer.json()["snapshots"]} == expected


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with a_world(tmp_path_factory.mktemp("listed")) as world:
        five_snapshots(world)
        yield world.client


def test_count_comes_from_its_version_on_and_counts_all_pages(listed: Client) -> None:
    before = listed.get("snapshots?with_count=true&limit=2", version="3.44").json()
    since = listed.get("snapshots?with_count=true&limit=2", version="3.45").json()
    filtered = listed.get("snapshots?with_count=True&name=n1", version="3.45").json()
    unasked = listed.get("snapshots?with_count=false", version="3.45").json()

    assert "count" not in before
    assert since["count"] == 5
    assert filtered["count"] == 1
    assert "count" not in unasked


def test_other_projects_see_none_of_them(listed: Client) -> None:
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
def test_pages_that_can_not_be_meant_are_refused(listed: Client, query: str) -> None:
    answer = listed.get(f"snapshots?{query}")

    assert fault(answer)[:2] == (400, "badRequest")


# Operations and messages.


def test_operation_shows_the_way_so_far(world: World) -> None:
    snapshot_id = world.managed(world.known_volume(), SNAPSHOT)
    world.trail(snapshot_id, ".end")

    shown = world.client.operation(snapshot_id)

    assert shown.keys() == {
        "snapshot_id",
        "status",
        "attempt",
        "max_attempts",
        "reference",
        "backend_name",
        "backend_id",
        "backend_created_at",
        "reason",
        "reason_code",
        "next_attempt_at",
        "events",
    }
    assert (shown["attempt"], shown["max_attempts"], shown["next_attempt_at"]) == (1, 3, None)
    assert shown["backend_name"] == f"snapshot-{snapshot_id}"
    assert shown["backend_created_at"].startswith("2024-01-01T")
    assert [event["status"] for event in shown["events"]] == ["creating", "available"]


def test_operation_that_rests_says_why_and_until_when(world: World) -> None:
    volume = world.known_volume()
    world.driver.go_away()
    snapshot_id = world.asked(volume, SNAPSHOT)
    world.resting(snapshot_id, attempt=1)

    shown = world.client.operation(snapshot_id)

    assert (shown["status"], shown["attempt"], shown["reason_code"]) == ("creating", 1, "backend_unavailable")
    assert shown["next_attempt_at"] is not None
    assert [event["event_type"] for event in shown["events"]] == ["snapshot.manage.start"]


def test_message_has_the_fields_of_the_block_storage_api(world: World) -> None:
    snapshot_id = world.asked(world.known_volume(), "nowhere")
    world.settled(snapshot_id)

    [told] = world.client.messages(snapshot_id)
    shown = world.client.get(f"messages/{told['id']}", version="3.3").json()["message"]

    assert shown == told
    assert told.keys() == {
        "id",
        "event_id",
        "user_message",
        "message_level",
        "resource_type",
        "resource_uuid",
        "created_at",
        "guaranteed_until",
        "request_id",
        "links",
    }
    assert (told["event_id"], told["message_level"]) == ("SNAPSHOT_MANAGE_SOURCE_NOT_FOUND", "ERROR")
    assert (told["resource_type"], told["resource_uuid"]) == ("VOLUME_SNAPSHOT", snapshot_id)
    [link] = told["links"]
    assert world.client.get(link["href"].removeprefix(world.client.root), version="3.3").status_code == 200


def test_link_to_a_message_leads_there_without_a_project_too(world: World) -> None:
    world.settled(world.asked(world.known_volume(), "nowhere"))
    mine = {"X-Auth-Token": f"ann:{PROJECT}"}

    [told] = world.client.get("/v3/messages", version="3.3", headers=mine).json()["messages"]

    [link] = told["links"]
    path = link["href"].removeprefix(world.client.root)
    assert path == f"/v3/messages/{told['id']}"
    assert world.client.get(path, version="3.3", headers=mine).status_code == 200


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("event_id=SNAPSHOT_MANAGE_SOURCE_NOT_FOUND", 5),
        ("event_id=VOLUME_MANAGE_SOURCE_NOT_FOUND", 0),
        ("message_level=ERROR", 5),
        ("message_level=INFO", 0),
        ("resource_type=VOLUME_SNAPSHOT", 5),
        ("resource_type=VOLUME", 0),
        ("resource_uuid=00000000-0000-0000-0000-000000000000", 0),
        ("request_id=req-0", 0),
        ("limit=2", 2),
        ("offset=4", 1),
    ],
)
def test_messages_are_filtered(listed: Client, query: str, number: int) -> None:
    answer = listed.get(f"messages?{query}", version="3.5")

    assert len(answer.json()["messages"]) == number


def test_filters_of_messages_count_from_their_version_on(listed: Client) -> None:
    before = listed.get("messages?message_level=INFO", version="3.4").json()["messages"]

    assert len(before) == 5


def test_pages_of_messages_join_up(listed: Client) -> None:
    every = listed.get("messages", version="3.5").json()["messages"]

    after = listed.get(f"messages?marker={every[1]['id']}", version="3.5").json()["messages"]

    assert after == every[2:]


def test_unknown_marker_of_messages_is_a_bad_request(listed: Client) -> None:
    answer = listed.get("messages?marker=nobody", version="3.5")

    assert fault(answer)[:2] == (400, "badRequest")


def test_messages_of_another_project_are_not_found(listed: Client) -> None:
    told = listed.get("messages", version="3.5").json()["messages"][0]
    stranger = Client(listed.root.removeprefix("http://"), OTHER_PROJECT, "3.5")

    answers = stranger.get(f"messages/{told['id']}"), stranger.get("messages")

    stranger.close()
    assert fault(answers[0])[0] == 404
    assert answers[1].json() == {"messages": []}


def test_messages_are_not_there_below_their_version(listed: Client) -> None:
    answer = listed.get("messages", version="3.2")

    assert fault(answer)[0] == 404


# Requests that can't be meant.


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
def test_body_that_can_not_be_kept_is_refused(shared: World, volume_id: str, body: bytes, text: str) -> None:
    sent = body.replace(b"VOLUME", volume_id.encode())

    answer = shared.client.post("os-snapshot-manage", data=sent, headers=JSON)

    status, _, said = fault(answer)
    assert status == 400
    assert text in said


@pytest.mark.parametrize("depth", [33, 500, 900, 1500])
@pytest.mark.parametrize("field", ["ref", "volume_id"])
def test_very_deep_body_is_refused(shared: World, volume_id: str, field: str, depth: int) -> None:
    known = {"volume_id": json.dumps(volume_id), "ref": '"x"'} | {field: '{"a":' * depth + "1" + "}" * depth}
    body = f'{{"snapshot": {{"volume_id": {known["volume_id"]}, "ref": {known["ref"]}}}}}'

    answer = shared.client.post("os-snapshot-manage", data=body, headers=JSON)

    assert fault(answer)[0] == (400 if len(body) <= 4096 else 413)


def test_body_that_is_too_large_is_refused(shared: World) -> None:
    answers = [shared.client.post("os-snapshot-manage", data=b"x" * size, headers=JSON) for size in (4096, 4097, 40960)]

    assert [fault(answer)[:2] for answer in answers] == [(400, "badRequest"), (413, "overLimit"), (413, "overLimit")]


def test_body_that_is_much_too_large_is_refused_unread(shared: World) -> None:
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


def test_type_of_a_body_may_name_its_encoding(shared: World, volume_id: str) -> None:
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
        ("DELETE", f"snapshots/{uuid.UUID(int=1)}", {"GET", "OPTIONS"}),
        ("GET", f"snapshots/{uuid.UUID(int=1)}/action", {"POST", "OPTIONS"}),
        ("POST", "/v3", {"GET", "OPTIONS"}),
    ],
)
def test_other_methods_are_refused_with_those_there_are(
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


def test_bytes_that_are_no_text_match_nothing(shared: World) -> None:
    assert shared.client.get("snapshots?name=%ff%fe").json() == {"snapshots": []}
    assert fault(shared.client.get("snapshots/%ff"))[0] == 404


@pytest.mark.parametrize("path", ["/nowhere", "/v2/", "/v3/notanid!/snapshots", "nowhere", "snapshots/x/y/z"])
def test_other_paths_are_not_found(shared: World, path: str) -> None:
    assert fault(shared.client.get(path))[:2] == (404, "itemNotFound")


def test_trailing_slash_makes_no_difference(shared: World) -> None:
    assert shared.client.get("snapshots/").json() == shared.client.get("snapshots").json()


def test_token_and_path_must_name_one_project(shared: World) -> None:
    answer = shared.client.get("snapshots", headers={"X-Auth-Token": f"ann:{OTHER_PROJECT}"})

    assert fault(answer)[:2] == (400, "badRequest")


@pytest.mark.parametrize("token", [f"{'u' * 256}:{PROJECT}", f"u:{'p' * 256}"])
def test_names_in_a_token_are_bounded(shared: World, token: str) -> None:
    answer = shared.client.get("/v3/snapshots", headers={"X-Auth-Token": token})

    assert fault(answer)[:2] == (400, "badRequest")


def test_project_may_come_from_the_token_alone(world: World) -> None:
    snapshot_id = world.managed(world.known_volume(), SNAPSHOT)

    answer = world.client.get(f"/v3/snapshots/{snapshot_id}", headers={"X-Auth-Token": f"ann:{PROJECT}"})

    assert answer.json()["snapshot"]["id"] == snapshot_id


# Versions, headers, discovery, health.


@pytest.mark.parametrize("path", ["/", "/v3", "snapshots", "/nowhere", "snapshots/%00"])
def test_every_answer_has_a_request_id_of_its_own_and_says_what_it_varies_by(shared: World, path: str) -> None:
    first, second = shared.client.get(path), shared.client.get(path)

    assert first.headers["X-Openstack-Request-Id"] != second.headers["X-Openstack-Request-Id"]
    assert first.headers["Vary"] == "OpenStack-API-Version"


def test_request_id_that_came_along_is_kept_as_the_global_one(world: World) -> None:
    volume = world.known_volume()
    came = f"req-{uuid.uuid4()}"

    answer = world.client.post(
        "os-snapshot-manage",
        json={"snapshot": {"volume_id": volume, "ref": SNAPSHOT}},
        headers={"X-Openstack-Request-Id": came},
    )

    requester = world.record(answer.json()["snapshot"]["id"]).requester
    assert requester.global_request_id == came
    assert requester.request_id == answer.headers["X-Openstack-Request-Id"] != came


@pytest.mark.parametrize("came", ["no id", "req-" + "a" * 300, "req-<script>"])
def test_what_is_no_request_id_is_not_kept(world: World, came: str) -> None:
    volume = world.known_volume()

    answer = world.client.post(
        "os-snapshot-manage",
        json={"snapshot": {"volume_id": volume, "ref": SNAPSHOT}},
        headers={"X-Openstack-Request-Id": came},
    )

    assert world.record(answer.json()["snapshot"]["id"]).requester.global_request_id is None


@pytest.mark.parametrize(
    ("asked", "spoken"),
    [
        (None, "volume 3.0"),
        ("volume 3.8", "volume 3.8"),
        ("volume latest", "volume 3.71"),
        ("compute 2.1, volume 3.44", "volume 3.44"),
        ("compute 2.1", "volume 3.0"),
    ],
)
def test_answer_says_the_version_it_is_of(shared: World, asked: str | None, spoken: str) -> None:
    answer = shared.client.get("snapshots", headers={"OpenStack-API-Version": asked} if asked else {})

    assert answer.headers["OpenStack-API-Version"] == spoken


@pytest.mark.parametrize("asked", ["volume 3.8 and more", "volume three", "volume 3", "volume 3.8.1"])
def test_what_is_no_version_is_a_bad_request(shared: World, asked: str) -> None:
    answer = shared.client.get("snapshots", headers={"OpenStack-API-Version": asked})

    assert fault(answer)[:2] == (400, "badRequest")


def test_version_out_of_range_is_not_acceptable_and_says_the_range(shared: World) -> None:
    answers = [shared.client.get("snapshots", version=version) for version in ("2.99", "3.72", "4.0")]

    assert {fault(answer)[0] for answer in answers} == {406}
    assert all("3.0" in answer.text and "3.71" in answer.text for answer in answers)


@pytest.mark.parametrize(("path", "status"), [("/", 300), ("/v3", 200), ("/v3/", 200)])
@pytest.mark.parametrize("version", [None, "3.71", "3.99"])
def test_discovery_needs_neither_token_nor_version(shared: World, path: str, status: int, version: str | None) -> None:
    answer = shared.client.get(path, version=version)

    [known] = answer.json()["versions"]
    assert answer.status_code == status
    assert (known["id"], known["min_version"], known["version"]) == ("v3.0", "3.0", "3.71")
    assert known["links"] == [{"rel": "self", "href": f"{shared.client.root}/v3/"}]


def test_health_is_good_while_the_database_answers(shared: World) -> None:
    answer = shared.client.get("/healthcheck", version="3.99")

    assert (answer.status_code, answer.json()) == (200, {"detailed": False, "reasons": []})


def test_database_that_is_away_is_told_as_such(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> Any:
        raise OperationalError("SELECT", {}, Exception("connection refused by secret-host"))

    monkeypatch.setattr(world.db, "clock", away)

    health = world.client.get("/healthcheck")
    listing = world.client.get(f"os-snapshot-manage?host={SERVER}")

    assert (health.status_code, health.json()["reasons"]) == (503, [{"reason": "The database doesn't answer."}])
    assert fault(listing)[:2] == (503, "serviceUnavailable")
    assert "Retry-After" in listing.headers
    assert "secret-host" not in listing.text


def test_failure_nobody_foresaw_tells_no_details(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("details")

    monkeypatch.setattr(world.bus, "call", broken)

    answer = world.client.get(f"os-snapshot-manage?host={SERVER}")

    assert fault(answer)[:2] == (500, "computeFault")
    assert "details" not in answer.text
