"""Lists of manageable snapshots over HTTP: the backend's snapshots, or the reason of a failure."""

import json
from pathlib import Path
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.api.request import Limits
from snapmanage.drivers.fake import FakeDriver
from snapmanage.drivers.file import FileDriver
from tests.examples import new_id
from tests.functional.client import SERVER, fault
from tests.functional.world import VOLUME, World, running_world

SNAPSHOT = "volume-1-snapshot-1"
# A placeholder for the id of a record that does not exist yet.
NO_ID = "00000000-0000-0000-0000-000000000000"


def test_list_shows_managed_snapshots_with_their_records(world: World) -> None:
    snapshot_id = world.manage_snapshot(world.register_volume(), SNAPSHOT)

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


def test_plain_list_shows_four_fields(shared: World) -> None:
    answer = shared.client.get(f"os-snapshot-manage?host={SERVER}")

    entries = answer.json()["manageable-snapshots"]
    assert len(entries) == 3
    assert all(entry.keys() == {"reference", "size", "safe_to_manage", "source_reference"} for entry in entries)


def test_list_is_sorted_by_reference_descending_by_default(shared: World) -> None:
    names = [entry["reference"]["source-name"] for entry in shared.client.manageable()]

    assert names == ["volume-1-snapshot-3", "volume-1-snapshot-2", "volume-1-snapshot-1"]


@pytest.mark.parametrize("order", [{"sort": "size:asc,reference:asc"}, {"sort_key": "reference", "sort_dir": "asc"}])
def test_list_is_sorted_by_the_given_keys(shared: World, order: dict[str, str]) -> None:
    names = [entry["reference"]["source-name"] for entry in shared.client.manageable(**order)]

    assert names == ["volume-1-snapshot-1", "volume-1-snapshot-2", "volume-1-snapshot-3"]


def test_pages_of_the_list_join_up(shared: World) -> None:
    first = shared.client.manageable(limit=2)
    marker = json.dumps(first[-1]["reference"])

    second = shared.client.manageable(limit=2, marker=marker)

    assert first + second == shared.client.manageable()


def test_page_links_to_the_next_while_there_is_one(world: World) -> None:
    scans = world.record_steps("list")
    first = world.client.get("os-snapshot-manage", params={"host": SERVER, "limit": 2, "sort": "reference:asc"}).json()
    [link] = first["manageable-snapshots_links"]

    second = world.client.follow(link["href"])
    last = world.client.follow(second["manageable-snapshots_links"][0]["href"])

    assert link["rel"] == "next"
    assert [entry["reference"]["source-name"] for entry in second["manageable-snapshots"]] == ["volume-1-snapshot-3"]
    assert last == {"manageable-snapshots": []}
    assert len(scans) == 1


def test_whole_list_has_no_link_and_a_truncated_list_has_one(tmp_path: Path) -> None:
    with running_world(tmp_path, limits=Limits(page=2)) as world:
        first = world.client.get(f"os-snapshot-manage?host={SERVER}").json()
        second = world.client.follow(first["manageable-snapshots_links"][0]["href"])

    assert len(first["manageable-snapshots"]) == 2
    assert len(second["manageable-snapshots"]) == 1
    assert second.keys() == {"manageable-snapshots"}


def test_further_pages_show_the_first_page_s_scan_and_newer_managed_snapshots(world: World) -> None:
    volume_id = world.register_volume()
    first = world.client.manageable(limit=1, sort="reference:asc")
    snapshot_id = world.manage_snapshot(volume_id, "volume-1-snapshot-2")

    second = world.client.manageable(limit=1, sort="reference:asc", marker=json.dumps(first[0]["reference"]))

    assert second[0]["reference"] == {"source-name": "volume-1-snapshot-2"}
    assert (second[0]["safe_to_manage"], second[0]["cinder_id"]) == (False, snapshot_id)


def test_first_page_shows_the_current_state_of_the_backend(world: World) -> None:
    world.client.manageable(limit=1)
    world.driver.add_snapshot(VOLUME, "zz-new")

    assert world.client.manageable(limit=1)[0]["reference"] == {"source-name": "zz-new"}


def test_list_can_be_filtered_by_volume(world: World) -> None:
    world.driver.add_volume("volume-2")
    world.driver.add_snapshot("volume-2", "of-another")
    volume_id = world.register_volume("volume-2")

    entries = world.client.manageable(volume_id=volume_id)

    assert [entry["reference"]["source-name"] for entry in entries] == ["of-another"]


def test_list_of_an_unknown_volume_is_not_found(shared: World) -> None:
    unknown = shared.client.get("os-snapshot-manage", params={"host": SERVER, "volume_id": new_id()})
    senseless = shared.client.get("os-snapshot-manage", params={"host": SERVER, "volume_id": "disk"})

    assert fault(unknown)[:2] == (404, "itemNotFound")
    assert fault(senseless) == (400, "badRequest", "volume_id must be a UUID, not 'disk'")


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"name~": "SHOT-2"}, ["volume-1-snapshot-2"]),
        ({"safe_to_manage": "false"}, ["snapshot-"]),
        ({"safe_to_manage": "true", "limit": 1}, ["volume-1-snapshot-3"]),
        ({"created_before": "2024-01-01T00:00:03Z"}, ["volume-1-snapshot-1"]),
        ({"created_after": "2024-01-01T00:00:03"}, ["volume-1-snapshot-3"]),
    ],
)
def test_list_is_filtered_by_each_parameter(world: World, filters: dict[str, str], expected: list[str]) -> None:
    if "safe_to_manage" in filters:
        world.manage_snapshot(world.register_volume(), "volume-1-snapshot-1")

    names = [entry["reference"]["source-name"] for entry in world.client.manageable(**filters)]

    assert [name[: len(want)] for name, want in zip(names, expected, strict=True)] == expected


@pytest.mark.parametrize(
    "filters", [{"safe_to_manage": "perhaps"}, {"created_after": "yesterday"}, {"created_before": ""}]
)
def test_malformed_filter_is_named(shared: World, filters: dict[str, str]) -> None:
    answer = shared.client.get("os-snapshot-manage", params={"host": SERVER} | filters)

    status, _, text = fault(answer)
    assert status == 400
    assert next(iter(filters)) in text


def test_page_is_never_larger_than_the_limit_of_the_server(tmp_path: Path) -> None:
    with running_world(tmp_path, limits=Limits(page=2)) as world:
        assert len(world.client.manageable(limit=100)) == 2
        assert len(world.client.manageable(limit=10**30)) == 2


def test_last_value_of_a_repeated_parameter_counts(shared: World) -> None:
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
        '{"a": 1e999}',
        '{"a": "\\u0000"}',
        '{"a": 1, "a": 2}',
        '{"a": ' + "[" * 900 + "]" * 900 + "}",
        '{"a": ' + "9" * 20 + "}",
        '{"a": ' + "9" * 5000 + "}",
    ],
)
def test_marker_that_names_no_entry_is_a_bad_request(shared: World, marker: str) -> None:
    answer = shared.client.get("os-snapshot-manage", params={"host": SERVER, "marker": marker})

    assert fault(answer)[:2] == (400, "badRequest")


def test_unknown_host_is_not_found(shared: World) -> None:
    answer = shared.client.get("os-snapshot-manage?host=nobody@nowhere")

    assert fault(answer)[:2] == (404, "itemNotFound")


@pytest.mark.parametrize("name", ["host", "cluster"])
def test_host_and_cluster_of_a_list_have_at_most_255_characters(shared: World, name: str) -> None:
    longest = shared.client.get("manageable_snapshots", params={name: "h" * 255}, version="3.17")
    beyond = shared.client.get("manageable_snapshots", params={name: "h" * 60_000}, version="3.17")

    assert longest.status_code == 404
    assert fault(beyond)[::2] == (400, f"{name} has 60000 characters; the limit is 255, so send fewer")


def test_bare_host_with_several_backends_is_ambiguous(tmp_path: Path) -> None:
    backends = {"storage-1@fast": FakeDriver(), "storage-1@slow": FakeDriver()}
    with running_world(tmp_path, backends) as world:
        answer = world.client.get("os-snapshot-manage?host=storage-1")

        status, _, text = fault(answer)
        assert status == 400
        assert "storage-1@fast, storage-1@slow" in text


def test_unknown_cluster_is_not_found_from_the_microversion_of_clusters_on(shared: World) -> None:
    before = shared.client.get(f"os-snapshot-manage?host={SERVER}&cluster=c", version="3.16")
    since = shared.client.get("os-snapshot-manage?cluster=c", version="3.17")

    assert (before.status_code, fault(since)[0]) == (200, 404)


def test_any_server_of_a_cluster_answers_a_list(tmp_path: Path) -> None:
    with running_world(tmp_path, {"cluster-1@fast": FakeDriver()}) as world:
        world.server.drain(10)
        another = world.another_server()

        answer = world.client.get("os-snapshot-manage?cluster=cluster-1@fast", version="3.17")

        assert len(answer.json()["manageable-snapshots"]) == 3
        another.drain(10)


def test_list_from_a_silent_server_has_a_retry_after_header(shared: World) -> None:
    shared.add_heartbeat("storage-2@silent")

    answer = shared.client.get("os-snapshot-manage?host=storage-2@silent")

    assert fault(answer)[:2] == (503, "serviceUnavailable")
    assert int(answer.headers["Retry-After"]) > 0


def test_malformed_sort_is_a_bad_request_even_if_no_server_answers(shared: World) -> None:
    shared.add_heartbeat("storage-2@silent")

    answer = shared.client.get("os-snapshot-manage?host=storage-2@silent&sort=colour")

    assert fault(answer)[:2] == (400, "badRequest")


def test_list_reports_the_error_of_the_backend(world: World) -> None:
    world.fail_at({"list": errors.BackendPermission("let snapmanage read the folder")})

    answer = world.client.get(f"os-snapshot-manage?host={SERVER}")

    assert fault(answer) == (503, "serviceUnavailable", "let snapmanage read the folder")


def test_list_without_a_bus_has_a_retry_after_header(world: World) -> None:
    world.bus.away = True

    answer = world.client.get(f"os-snapshot-manage?host={SERVER}")

    assert fault(answer)[:2] == (503, "serviceUnavailable")
    assert int(answer.headers["Retry-After"]) > 0


def test_list_of_a_hanging_backend_times_out(tmp_path: Path) -> None:
    with running_world(tmp_path, call_timeout_seconds=0.1) as world:
        with world.hang_at("list"):
            answer = world.client.get(f"os-snapshot-manage?host={SERVER}")

        assert fault(answer)[:2] == (503, "serviceUnavailable")


@pytest.mark.parametrize("failure", [errors.BackendUnavailable("the backend is away"), KeyError("oops"), OSError("no")])
def test_failing_backend_is_an_error_and_never_an_empty_list(world: World, failure: Exception) -> None:
    world.fail_at({"list": failure})

    answer = world.client.get(f"os-snapshot-manage?host={SERVER}")

    assert fault(answer)[:2] == (503, "serviceUnavailable")
    assert "Retry-After" in answer.headers
    assert "oops" not in answer.text


def test_snapshot_that_can_not_get_its_managed_name_is_listed_as_unsafe_with_the_reason(
    tmp_path: Path,
) -> None:
    (tmp_path / "images").mkdir()
    volume = "x" * 220
    for name in (volume, f"{volume}@daily", "short", "short@daily"):
        (tmp_path / "images" / name).touch()
    with running_world(tmp_path, {SERVER: FileDriver(str(tmp_path / "images"))}) as world:
        listed = {entry["reference"]["source-name"]: entry for entry in world.client.manageable()}
        snapshot_id = world.request_manage(world.register_volume(volume), f"{volume}@daily")
        world.await_settled(snapshot_id)
        reason = world.client.operation(snapshot_id)["reason"]

    assert listed["short@daily"]["safe_to_manage"] is True
    assert listed[f"{volume}@daily"]["safe_to_manage"] is False
    assert listed[f"{volume}@daily"]["reason_not_safe"] == f"unusable: {reason.replace(snapshot_id, NO_ID)}"


@pytest.mark.parametrize("answer", [None, "text", {}, [1], [{"size": 1}]])
def test_answer_of_a_server_in_an_unknown_form_is_an_error_that_names_the_server(
    world: World, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    monkeypatch.setattr(world.bus, "call", lambda *arguments: answer)

    refused = world.client.get(f"os-snapshot-manage?host={SERVER}")

    assert fault(refused)[:2] == (503, "serviceUnavailable")
    assert f"{SERVER} answered in an unknown form" in refused.text
