"""Listing what could be managed, over HTTP: what is on the backend, and whose fault it is when it can't be said."""

import json
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.api.call import Limits
from snapmanage.drivers.fake import FakeDriver
from tests.functional.world import (
    SERVER,
    VOLUME,
    World,
    a_world,
    fault,
)

SNAPSHOT = "volume-1-snapshot-1"


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


def test_bad_order_is_the_clients_fault_even_where_nobody_answers(shared: World) -> None:
    shared.heard_of("storage-2@silent")

    answer = shared.client.get("os-snapshot-manage?host=storage-2@silent&sort=colour")

    assert fault(answer)[:2] == (400, "badRequest")


def test_listing_says_what_the_backend_suffers_from(world: World) -> None:
    world.failing({"list": errors.BackendPermission("let snapmanage read the folder")})

    answer = world.client.get(f"os-snapshot-manage?host={SERVER}")

    assert fault(answer) == (503, "serviceUnavailable", "let snapmanage read the folder")


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
