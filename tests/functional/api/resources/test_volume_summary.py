"""The summary of volumes, and the volume types, over HTTP."""

import pytest

from snapmanage.api.defaults import TYPE_ID
from snapmanage.manage import queries
from tests.functional.client import PROJECT, fault
from tests.functional.world import OTHER_PROJECT, World


def test_summary_has_the_volumes_of_the_project_with_their_metadata(world: World) -> None:
    world.driver.add_volume("volume-2")
    world.register_volume("volume-1", metadata={"k": "a", "c": "d"})
    world.register_volume("volume-2", metadata={"k": "b", "c": "d"})

    found = world.client.get("volumes/summary", version="3.36").json()["volume-summary"]

    assert (found["total_count"], found["total_size"]) == (2, 2)
    assert {key: sorted(values) for key, values in found["metadata"].items()} == {"k": ["a", "b"], "c": ["d"]}


def test_summary_of_another_project_is_empty(world: World) -> None:
    world.register_volume()
    stranger = world.another_client(OTHER_PROJECT, "3.36")

    answer = stranger.get("volumes/summary")

    stranger.close()
    assert answer.json()["volume-summary"] == {"total_count": 0, "total_size": 0, "metadata": {}}


def test_metadata_are_in_the_summary_from_their_microversion(shared: World) -> None:
    assert shared.client.get("volumes/summary", version="3.12").json()["volume-summary"].keys() == {
        "total_count",
        "total_size",
    }
    assert fault(shared.client.get("volumes/summary", version="3.11"))[0] == 404


def test_summary_of_too_many_metadata_is_refused_with_the_remedy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "LARGEST_PAGE", 20)
    world.register_volume(metadata={"key": "a value of some length"})

    answers = [world.client.get("volumes/summary", version=version) for version in ("3.36", "3.35")]

    assert [answer.status_code for answer in answers] == [400, 200]
    assert "request it with a microversion below 3.36" in answers[0].text


def test_only_type_is_the_default(shared: World) -> None:
    listed = shared.client.get("types").json()["volume_types"]

    shown = [shared.client.get(f"types/{each}").json()["volume_type"] for each in (TYPE_ID, "default")]
    assert shown == listed * 2
    assert listed[0]["name"] == "__DEFAULT__"


def test_volume_is_of_the_only_type_and_in_the_only_zone(world: World) -> None:
    volume = world.client.get(f"volumes/{world.register_volume()}", version="3.63").json()["volume"]

    [zone] = world.client.get("os-availability-zone").json()["availabilityZoneInfo"]
    [only] = world.client.get("types").json()["volume_types"]
    assert volume["availability_zone"] == zone["zoneName"]
    assert (volume["volume_type"], volume["volume_type_id"]) == (only["name"], only["id"])


@pytest.mark.parametrize("unknown", ["__DEFAULT__", PROJECT, "x"])
def test_unknown_type_is_not_found(shared: World, unknown: str) -> None:
    assert fault(shared.client.get(f"types/{unknown}"))[0] == 404
