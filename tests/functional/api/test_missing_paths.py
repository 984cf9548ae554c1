"""Paths that don't exist: the answer has the reason and the remedy."""

import pytest

from tests.functional.client import PROJECT, SERVER, fault
from tests.functional.world import World


@pytest.mark.parametrize("asked", [None, "3.8", "volume 3.0", "volume 3.7"])
def test_path_below_its_microversion_names_the_microversion(shared: World, asked: str | None) -> None:
    """`3.8` alone, without the service's name, selects no microversion."""
    headers = {"OpenStack-API-Version": asked} if asked else {}

    answer = shared.client.get(f"manageable_snapshots?host={SERVER}", headers=headers)

    spoken = "3.7" if asked == "volume 3.7" else "3.0"
    assert fault(answer) == (
        404,
        "itemNotFound",
        f"The resource could not be found: it needs microversion 3.8; the request asked for {spoken}. "
        "Send the header OpenStack-API-Version: volume 3.8.",
    )


@pytest.mark.parametrize("path", ["/v3/demo/snapshots", "/v3/demo/os-snapshot-manage/detail", "/v3/my project/limits"])
def test_project_id_that_is_not_hexadecimal_is_explained(shared: World, path: str) -> None:
    answer = shared.client.get(path)

    project = path.split("/")[2]
    assert fault(answer)[0] == 404
    assert f"The project id '{project}' in the path must have hexadecimal digits" in fault(answer)[2]


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/v3/nowhere",
        "/v3/demo/nowhere",
        f"/v3/{PROJECT}/nowhere",
        "/v3/demo",
        f"/v3/{PROJECT}/snapshots/a/nowhere",
    ],
)
def test_other_unknown_path_names_the_description_of_all_paths(shared: World, path: str) -> None:
    assert "GET /v3/openapi.json lists the paths that exist" in fault(shared.client.get(path))[2]


def test_bookmarks_of_volumes_and_messages_can_be_followed(world: World) -> None:
    volume_id = world.register_volume()
    failed = world.request_manage(volume_id, "nowhere")
    world.await_settled(failed)
    [message] = world.client.messages(failed)

    for shown in (world.client.volume(volume_id), message):
        paths = [each["href"].removeprefix(world.client.root) for each in shown["links"]]
        found = [world.client.get(path, version="3.5") for path in paths]
        assert [answer.status_code for answer in found] == [200, 200]
        assert found[0].json() == found[1].json()


def test_bookmark_without_a_project_is_in_the_project_of_the_token(world: World) -> None:
    volume_id = world.register_volume()
    token = {"X-Auth-Token": f"ann:{PROJECT}"}

    shown = world.client.get(f"/v3/volumes/{volume_id}", headers=token).json()["volume"]
    [bookmark] = [each["href"] for each in shown["links"] if each["rel"] == "bookmark"]

    assert world.client.get(bookmark.removeprefix(world.client.root), headers=token).json()["volume"]["id"] == volume_id
