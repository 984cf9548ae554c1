"""Lists of manageable volumes over HTTP: the backend's volumes, or the reason of a failure."""

import json
from pathlib import Path
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.core.backend import GIB, Unsafe
from snapmanage.drivers.fake import FakeDriver
from snapmanage.testing.waiting import until
from snapmanage.volume.cinder_dialect import CinderEndpoint
from snapmanage.volume.endpoint import Endpoint
from tests.functional.client import SERVER, fault
from tests.functional.world import VOLUME, World, running_world

PLAIN = {"reference", "size", "safe_to_manage"}


def names(world: World, **parameters: Any) -> list[str]:
    return [each["reference"]["source-name"] for each in world.client.manageable_volumes(**parameters)]


@pytest.mark.parametrize(
    ("path", "version"), [("os-volume-manage", "3.0"), ("os-volume-manage", "3.65"), ("manageable_volumes", "3.8")]
)
def test_list_shows_registered_volumes_with_their_records(world: World, path: str, version: str) -> None:
    world.driver.add_volume("volume-2", 3 * GIB)
    volume_id = world.register_volume()

    plain = world.client.get(f"{path}?host={SERVER}", version=version).json()
    detailed = world.client.get(f"{path}/detail?host={SERVER}", version=version).json()

    managed = {"reference": {"source-name": VOLUME}, "size": 1, "safe_to_manage": False}
    other = {"reference": {"source-name": "volume-2"}, "size": 3, "safe_to_manage": True}
    nothing = {"extra_info": None, "cinder_id": None, "reason_not_safe": None}
    assert plain == {"manageable-volumes": [other, managed]}
    assert detailed == {
        "manageable-volumes": [
            other | nothing,
            managed | nothing | {"reason_not_safe": "already managed", "cinder_id": volume_id},
        ]
    }


def test_newer_path_is_unknown_below_its_microversion(shared: World) -> None:
    for path in ("manageable_volumes", "manageable_volumes/detail"):
        assert shared.client.get(f"{path}?host={SERVER}", version="3.7").status_code == 404


def test_every_listed_volume_can_be_registered_by_its_reference(world: World) -> None:
    world.driver.add_volume("volume-2")

    for entry in world.client.manageable_volumes():
        world.register_volume(entry["reference"])

    assert {each["reason_not_safe"] for each in world.client.manageable_volumes()} == {"already managed"}


def test_volume_whose_registration_has_failed_is_listed_as_safe_again(world: World) -> None:
    world.fail_at({"find": errors.SourceNotFound("gone")})
    volume_id = world.client.manage_volume(VOLUME).json()["volume"]["id"]
    until(lambda: world.client.volume(volume_id)["status"] == "error", "the registration to fail")

    assert [each["safe_to_manage"] for each in world.client.manageable_volumes()] == [True]


def test_volume_that_is_being_registered_is_listed_with_its_record(world: World) -> None:
    with world.hang_at("find"):
        volume_id = world.client.manage_volume(VOLUME).json()["volume"]["id"]
        [entry] = world.client.manageable_volumes()

    assert entry["reason_not_safe"] == f"volume {volume_id} is managed under this reference"


def test_unsafe_volume_is_listed_with_its_reason_and_can_not_be_registered(world: World) -> None:
    world.driver.mark(VOLUME, Unsafe.UNUSABLE, "it has lost a disk")

    [entry] = world.client.manageable_volumes()
    volume_id = world.client.manage_volume(VOLUME).json()["volume"]["id"]
    until(lambda: world.client.volume(volume_id)["status"] == "error", "the registration to fail")

    assert (entry["safe_to_manage"], entry["reason_not_safe"]) == (False, "unusable: it has lost a disk")
    [message] = world.client.messages(volume_id)
    assert "it has lost a disk" in message["user_message"]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, ["volume-1", "large", "disk"]),
        ({"sort": "size:desc,reference:asc"}, ["large", "disk", "volume-1"]),
        ({"sort_key": "reference", "sort_dir": "asc"}, ["disk", "large", "volume-1"]),
        ({"offset": 1}, ["large", "disk"]),
        ({"marker": '{"source-name": "large"}'}, ["disk"]),
        ({"name~": "IS"}, ["disk"]),
        ({"safe_to_manage": "false"}, ["volume-1"]),
        ({"safe_to_manage": "true", "limit": 1}, ["large"]),
        ({"min_size": 3}, ["large", "disk"]),
        ({"max_size": 3}, ["volume-1", "disk"]),
        ({"min_size": 2, "max_size": 3}, ["disk"]),
        ({"min_size": 0, "max_size": 0}, []),
        ({"created_after": "2024-01-01T00:00:04Z"}, ["large", "disk"]),
        ({"created_before": "2024-01-01T00:00:05Z"}, ["volume-1"]),
    ],
)
def test_list_is_sorted_paged_and_filtered_by_each_parameter(
    world: World, parameters: dict[str, Any], expected: list[str]
) -> None:
    world.driver.add_volume("disk", 3 * GIB)
    world.driver.add_volume("large", 4 * GIB)
    world.driver.add_snapshot(VOLUME, "of-the-volume")
    world.register_volume()

    assert names(world, **parameters) == expected


@pytest.mark.parametrize(
    "parameters",
    [
        {"min_size": "-1"},
        {"max_size": "large"},
        {"max_size": str(10**20)},
        {"safe_to_manage": "perhaps"},
        {"created_after": "yesterday"},
        {"marker": "zzz"},
        {"marker": '{"source-name": "nowhere"}'},
        {"sort": "colour"},
        {"limit": "-1"},
        {"name~": "x" * 256},
    ],
)
def test_malformed_parameter_is_named(shared: World, parameters: dict[str, str]) -> None:
    answer = shared.client.get("os-volume-manage", params={"host": SERVER} | parameters)

    status, _, text = fault(answer)
    assert status == 400
    assert next(iter(parameters)) in text


def test_pages_are_read_from_one_scan(world: World) -> None:
    for name in ("disk-1", "disk-2"):
        world.driver.add_volume(name)
    scans = world.record_steps("list_volumes")
    first = world.client.get("os-volume-manage", params={"host": SERVER, "limit": 2}).json()
    [link] = first["manageable-volumes_links"]

    second = world.client.follow(link["href"])
    last = world.client.follow(second["manageable-volumes_links"][0]["href"])

    assert [each["reference"]["source-name"] for each in second["manageable-volumes"]] == ["disk-1"]
    assert last == {"manageable-volumes": []}
    assert len(scans) == 1


def test_lists_of_snapshots_and_of_volumes_have_scans_of_their_own(world: World) -> None:
    world.driver.add_volume("volume-2")
    world.client.manageable_volumes(limit=1)
    snapshots = world.client.manageable(limit=1)

    more_volumes = names(world, limit=1, marker=json.dumps({"source-name": "volume-2"}))
    more_snapshots = world.client.manageable(limit=1, marker=json.dumps(snapshots[0]["reference"]))

    assert more_volumes == [VOLUME]
    assert more_snapshots[0]["reference"] == {"source-name": "volume-1-snapshot-2"}


def test_list_needs_a_host(shared: World) -> None:
    missing = shared.client.get("os-volume-manage", version="3.8")
    unknown = shared.client.get("os-volume-manage?host=nobody@nowhere")

    assert fault(missing) == (400, "badRequest", "the query must name host, such as host=HOST@BACKEND")
    assert fault(unknown)[:2] == (404, "itemNotFound")


def test_any_server_of_a_cluster_answers(tmp_path: Path) -> None:
    with running_world(tmp_path, {"cluster-1@fast": FakeDriver()}) as world:
        answer = world.client.get("manageable_volumes?cluster=cluster-1@fast", version="3.17")

    assert [each.keys() for each in answer.json()["manageable-volumes"]] == [PLAIN]


@pytest.mark.parametrize("failure", [errors.BackendUnavailable("the backend is away"), KeyError("oops"), OSError("no")])
def test_failing_backend_is_an_error_and_never_an_empty_list(world: World, failure: Exception) -> None:
    world.fail_at({"list_volumes": failure})

    answer = world.client.get(f"os-volume-manage?host={SERVER}")

    assert fault(answer)[:2] == (503, "serviceUnavailable")
    assert "Retry-After" in answer.headers
    assert "oops" not in answer.text


def test_volume_with_a_name_that_no_database_keeps_hides_no_other(world: World) -> None:
    world.driver.add_volume("odd\udcff")

    listed = {each["reference"]["source-name"]: each["reason_not_safe"] for each in world.client.manageable_volumes()}

    assert listed.pop(VOLUME) is None
    [(odd, reason)] = listed.items()
    assert odd.startswith("odd")
    assert reason.startswith("unusable: its name or identity has characters that no database keeps")


def test_driver_of_an_earlier_release_works_and_its_list_is_refused_with_the_remedy(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(FakeDriver, "list_volumes")

    refused = world.client.get(f"os-volume-manage?host={SERVER}")

    text = "the driver of this backend can't list volumes; register a volume by its name on the backend"
    assert fault(refused) == (400, "badRequest", text)
    assert world.manage_snapshot(world.register_volume(), "volume-1-snapshot-1")


def test_server_of_an_earlier_release_is_named_with_the_remedy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for endpoint in (Endpoint, CinderEndpoint):
        monkeypatch.delattr(endpoint, "get_manageable_volumes")

    refused = world.client.get(f"os-volume-manage?host={SERVER}")

    text = f"{SERVER} runs an earlier release, which can't answer this; upgrade snapmanage-volume there"
    assert fault(refused) == (503, "serviceUnavailable", text)
