"""Entity tags: a client with a current copy gets 304 instead of the body."""

from collections.abc import Iterator

import pytest

from tests.functional.client import PROJECT, SERVER, Client, fault
from tests.functional.world import World, five_snapshots, running_world

LATEST = "3.71"


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("tags")) as world:
        five_snapshots(world)
        yield world


@pytest.fixture(scope="module")
def paths(listed: World) -> list[str]:
    """Return a path of each list and of each resource that can be shown."""
    [volume] = listed.client.get("volumes").json()["volumes"]
    snapshot_id = listed.client.get("snapshots").json()["snapshots"][0]["id"]
    message_id = listed.client.get("messages", version="3.5").json()["messages"][0]["id"]
    return [
        "snapshots",
        "snapshots/detail",
        f"snapshots/{snapshot_id}",
        f"snapshots/{snapshot_id}/metadata",
        f"snapshots/{snapshot_id}/operation",
        "volumes",
        "volumes/detail",
        f"volumes/{volume['id']}",
        f"volumes/{volume['id']}/metadata",
        f"os-snapshot-manage?host={SERVER}",
        f"manageable_snapshots/detail?host={SERVER}",
        "messages",
        f"messages/{message_id}",
        "extensions",
    ]


def test_current_copy_of_each_list_and_resource_is_not_sent_again(listed: World, paths: list[str]) -> None:
    for path in paths:
        first = listed.client.get(path, version=LATEST)
        second = listed.client.get(path, version=LATEST, headers={"If-None-Match": first.headers["ETag"]})

        assert (first.status_code, second.status_code, second.content) == (200, 304, b""), path
        assert second.headers["ETag"] == first.headers["ETag"]
        for name in ("OpenStack-API-Version", "Vary", "Cache-Control", "X-Content-Type-Options"):
            assert second.headers[name] == first.headers[name]
        assert second.headers["X-Openstack-Request-Id"].startswith("req-")


def test_answer_with_a_tag_is_still_not_to_be_stored(listed: World) -> None:
    assert listed.client.get("snapshots").headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', '{}, "other"', '"other",W/{} , "third"', "*"])
def test_tag_may_be_weak_or_one_of_several(listed: World, form: str) -> None:
    tag = listed.client.get("snapshots").headers["ETag"]

    answer = listed.client.get("snapshots", headers={"If-None-Match": form.format(tag)})

    assert answer.status_code == 304


@pytest.mark.parametrize("form", ["", '"other"', "{unquoted}", '"', ",,", '"*"', 'W/"', "x" * 5000])
def test_other_tags_get_the_answer(listed: World, form: str) -> None:
    tag = listed.client.get("snapshots").headers["ETag"]

    answer = listed.client.get("snapshots", headers={"If-None-Match": form.replace("{unquoted}", tag[1:-2])})

    assert (answer.status_code, answer.headers["ETag"]) == (200, tag)


def test_tag_is_that_of_the_representation(listed: World) -> None:
    """Another page, another microversion and other fields have other bodies."""
    ways = [
        ("snapshots", "3.0"),
        ("snapshots/detail", "3.0"),
        ("snapshots/detail", LATEST),
        ("snapshots?limit=1", "3.0"),
    ]

    tags = {listed.client.get(path, version=version).headers["ETag"] for path, version in ways}

    assert len(tags) == len(ways)
    assert all(tag.startswith('"') and tag.endswith('"') for tag in tags)


def test_tag_changes_with_the_record(world: World) -> None:
    volume = world.register_volume()
    tag = world.client.get(f"volumes/{volume}").headers["ETag"]

    world.client.request("PUT", f"volumes/{volume}/metadata", json={"metadata": {"k": "v"}})

    answer = world.client.get(f"volumes/{volume}", headers={"If-None-Match": tag})
    assert (answer.status_code, answer.json()["volume"]["metadata"]) == (200, {"k": "v"})
    assert answer.headers["ETag"] != tag


def test_refusal_has_no_tag_and_is_not_replaced_by_304(listed: World) -> None:
    for path in ("snapshots/nobody", "snapshots?limit=x", "os-snapshot-manage"):
        answer = listed.client.get(path, headers={"If-None-Match": "*"})

        assert fault(answer)[0] in (400, 404)
        assert "ETag" not in answer.headers


def test_connection_stays_usable_after_304(listed: World) -> None:
    client = Client(listed.client.root.removeprefix("http://"), PROJECT)

    statuses = [client.get("snapshots", headers={"If-None-Match": "*"}).status_code for _ in range(3)]
    statuses.append(client.get("snapshots").status_code)

    client.close()
    assert statuses == [304, 304, 304, 200]


def test_other_methods_ignore_the_header(listed: World) -> None:
    [volume] = listed.client.get("volumes").json()["volumes"]
    path = f"volumes/{volume['id']}/metadata"

    answer = listed.client.post(path, json={"metadata": {"k": "v"}}, headers={"If-None-Match": "*"})

    assert (answer.status_code, answer.json()) == (200, {"metadata": {"k": "v"}})
    assert "ETag" not in answer.headers
