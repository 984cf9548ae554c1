"""Pages of records with large metadata: a page ends early, and its link leads to the rest."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from snapmanage.manage import queries
from tests.functional.world import World, five_snapshots, running_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield a world with five snapshots, and three more volumes than the one of these snapshots."""
    folder: Path = tmp_path_factory.mktemp("large")
    with running_world(folder) as made:
        five_snapshots(made)
        for number in range(2, 5):
            made.client.manage_volume(f"volume-{number}", metadata={"key": "v" * 255})
        yield made


def pages(world: World, path: str) -> list[list[str]]:
    """Return the ids of the records on each page, from the first page on."""
    name, found, url = path.partition("/")[0], list[list[str]](), path
    while url:
        body = world.client.get(url, version="3.71").json()
        found.append([each["id"] for each in body[name]])
        url = next((link["href"].removeprefix(world.client.root) for link in body.get(f"{name}_links", [])), "")
    return found


@pytest.mark.parametrize("path", ["snapshots", "snapshots/detail", "volumes", "volumes/detail"])
def test_page_ends_at_the_limit_of_its_texts(world: World, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    [whole] = pages(world, path)
    monkeypatch.setattr(queries, "LARGEST_PAGE", 1)

    assert len(whole) > 3
    assert pages(world, path) == [[each] for each in whole]


def test_page_of_messages_ends_at_the_limit_of_their_texts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    [whole] = pages(world, "messages")
    monkeypatch.setattr(queries, "LARGEST_PAGE", 1)

    assert len(whole) > 3
    assert pages(world, "messages") == [[each] for each in whole]


def test_short_page_has_the_count_of_all_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "LARGEST_PAGE", 1)

    body = world.client.get("snapshots?with_count=1", version="3.71").json()

    assert (len(body["snapshots"]), body["count"]) == (1, 5)
