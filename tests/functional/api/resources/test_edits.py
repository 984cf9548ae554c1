"""Edits of snapshots and volumes over HTTP: name, description, metadata; and the refusal to delete."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from snapmanage.core.origins.protection import FORCE
from snapmanage.core.values.metadata import MOST_PAIRS
from tests.functional.callers import by_token, token
from tests.functional.client import PROJECT, Client, fault
from tests.functional.world import OTHER_PROJECT, World, running_world

NOBODY = "00000000-0000-0000-0000-000000000000"
KINDS = ["snapshots", "volumes"]
SUMMARY = {"id", "created_at", "updated_at", "name", "description", "volume_id", "status", "size", "metadata"}


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield a world whose callers have tokens; its client is an administrator."""
    with running_world(tmp_path_factory.mktemp("edited"), authenticate=by_token()) as world:
        world.client.headers |= token("admin", PROJECT)
        yield world


@pytest.fixture(scope="module")
def known(edited: World) -> dict[str, str]:
    """Return the ids of an available volume and of a snapshot of it."""
    volume_id = edited.register_volume(name="disk", description="d", metadata={"a": "b"})
    snapshot_id = edited.manage_snapshot(
        volume_id, "volume-1-snapshot-1", name="daily", description="d", metadata={"a": "b"}
    )
    return {"volumes": volume_id, "snapshots": snapshot_id}


@pytest.fixture(params=KINDS)
def path(request: pytest.FixtureRequest, edited: World, known: dict[str, str]) -> str:
    """Return the path of a snapshot and of a volume, each with the metadata {"a": "b"}."""
    made = f"{request.param}/{known[request.param]}"
    assert put(edited.client, f"{made}/metadata", {"metadata": {"a": "b"}}).status_code == 200
    return made


@pytest.fixture
def member(edited: World) -> Iterator[Client]:
    made = edited.another_client()
    made.headers |= token("member", PROJECT)
    yield made
    made.close()


def put(client: Client, path: str, body: Any, **more: Any) -> Any:
    return client.request("PUT", path, json=body, **more)


def one(path: str) -> str:
    """Return the name of a resource in bodies."""
    return path.partition("/")[0][:-1]


def metadata(client: Client, path: str) -> dict[str, str]:
    found: dict[str, str] = client.get(f"{path}/metadata").json()["metadata"]
    return found


def test_name_and_description_are_edited_apart(edited: World, path: str) -> None:
    renamed = put(edited.client, path, {one(path): {"name": "second"}})
    described = put(edited.client, path, {one(path): {"description": "e"}})
    cleared = put(edited.client, path, {one(path): {"name": None}})

    seen = [each.json()[one(path)] for each in (renamed, described, cleared)]
    assert [(each["name"], each["description"]) for each in seen][1:] == [("second", "e"), (None, "e")]
    assert seen[0]["name"] == "second"
    assert all(each["metadata"] == {"a": "b"} for each in seen)
    shown = edited.client.get(path).json()[one(path)]
    assert {name: shown[name] for name in seen[2]} == seen[2]


def test_older_names_of_the_fields_work_and_the_newer_ones_count(edited: World, path: str) -> None:
    older = {"display_name": "older", "display_description": "f"}

    first = put(edited.client, path, {one(path): older}).json()[one(path)]
    second = put(edited.client, path, {one(path): older | {"name": "newer"}}).json()[one(path)]

    assert (first["name"], first["description"]) == ("older", "f")
    assert (second["name"], second["description"]) == ("newer", "f")


def test_edit_of_a_text_changes_the_time_of_the_last_change(edited: World, path: str) -> None:
    before = edited.client.get(path).json()[one(path)]
    edited.clock.advance(seconds=60)

    after = put(edited.client, path, {one(path): {"name": "later"}}).json()[one(path)]

    assert after["updated_at"] > before["updated_at"]
    assert after["created_at"] == before["created_at"]


@pytest.mark.parametrize(
    ("version", "more"),
    [("3.0", set()), ("3.14", {"group_snapshot_id"}), ("3.65", {"group_snapshot_id", "user_id", "consumes_quota"})],
)
def test_edited_snapshot_has_the_fields_of_the_block_storage_api(
    edited: World, known: dict[str, str], version: str, more: set[str]
) -> None:
    answer = put(edited.client, f"snapshots/{known['snapshots']}", {"snapshot": {"name": "x"}}, version=version)

    assert answer.json()["snapshot"].keys() == SUMMARY | more


def test_edited_volume_has_the_fields_of_the_block_storage_api(edited: World, known: dict[str, str]) -> None:
    answer = put(edited.client, f"volumes/{known['volumes']}", {"volume": {"name": "x", "metadata": {"k": "v"}}})

    volume = answer.json()["volume"]
    shown = edited.client.volume(known["volumes"])
    assert volume == {name: value for name, value in shown.items() if not name.startswith("os-vol-")}
    assert (volume["name"], volume["metadata"]) == ("x", {"k": "v"})


@pytest.mark.parametrize(("version", "status"), [("3.0", 200), ("3.52", 200), ("3.53", 400), ("latest", 400)])
def test_empty_edit_of_a_volume_is_refused_from_its_microversion_on(
    edited: World, known: dict[str, str], version: str, status: int
) -> None:
    answer = put(edited.client, f"volumes/{known['volumes']}", {"volume": {}}, version=version)

    assert answer.status_code == status


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "snapshot"),
        ({"x": "y"}, "x"),
        ({"name": 1}, "name"),
        ({"name": "x" * 256}, "snapshot/name"),
        ({"metadata": {"k": "v"}}, "metadata"),
        ({"status": "error"}, "status"),
    ],
    ids=["empty", "unknown", "number", "long", "metadata", "status"],
)
def test_malformed_edit_of_a_snapshot_is_refused(
    edited: World, known: dict[str, str], fields: dict[str, Any], said: str
) -> None:
    status, name, text = fault(put(edited.client, f"snapshots/{known['snapshots']}", {"snapshot": fields}))

    assert (status, name) == (400, "badRequest")
    assert said in text


def test_metadata_are_added_replaced_changed_and_removed(edited: World, path: str) -> None:
    client, pairs = edited.client, f"{path}/metadata"

    assert client.post(pairs, json={"metadata": {"c": "d"}}).json() == {"metadata": {"a": "b", "c": "d"}}
    assert put(client, pairs, {"metadata": {"e": "f"}}).json() == {"metadata": {"e": "f"}}
    assert client.get(f"{pairs}/e").json() == {"meta": {"e": "f"}}
    assert put(client, f"{pairs}/e", {"meta": {"e": "g"}}).json() == {"meta": {"e": "g"}}
    assert put(client, f"{pairs}/new", {"meta": {"new": ""}}).json() == {"meta": {"new": ""}}
    assert metadata(client, path) == {"e": "g", "new": ""}
    removed = client.request("DELETE", f"{pairs}/e")
    assert (removed.status_code, removed.content) == (200, b"")
    assert metadata(client, path) == {"new": ""}
    assert client.get(path).json()[one(path)]["metadata"] == {"new": ""}


@pytest.mark.parametrize("key", ["a/b", "a b", "a:b", "A.b-c_d", "a/b/c", "x" * 255])
def test_key_of_each_kind_has_a_path(edited: World, path: str, key: str) -> None:
    pair = f"{path}/metadata/{quote(key, safe='')}"

    assert put(edited.client, pair, {"meta": {key: "v"}}).status_code == 200
    assert edited.client.get(pair).json() == {"meta": {key: "v"}}
    assert edited.client.request("DELETE", pair).status_code == 200
    assert edited.client.get(pair).status_code == 404


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_missing_key_is_not_found(edited: World, path: str, method: str) -> None:
    status, name, text = fault(edited.client.request(method, f"{path}/metadata/zz"))

    assert (status, name) == (404, "itemNotFound")
    assert text.endswith("has no metadata with key zz.")


@pytest.mark.parametrize(
    ("method", "where", "body", "said"),
    [
        ("POST", "", {"metadata": {"c": 1}}, "metadata/c"),
        ("POST", "", {"metadata": {"c" * 256: "x"}}, "metadata"),
        ("POST", "", {"metadata": {"": "x"}}, "metadata"),
        ("POST", "", {"metadata": None}, "metadata"),
        ("POST", "", {"meta": {"c": "d"}}, "metadata"),
        ("PUT", "", {"metadata": dict.fromkeys(map(str, range(MOST_PAIRS + 1)), "v")}, "the limit is 128"),
        ("PUT", "/e", {"meta": {"z": "g"}}, "Request body and URI mismatch"),
        ("PUT", "/e", {"meta": {"e": "g", "z": "g"}}, "meta"),
        ("PUT", "/e", {"meta": {}}, "meta"),
        ("PUT", "/e", {"metadata": {"e": "g"}}, "meta"),
    ],
)
def test_malformed_metadata_are_refused(
    edited: World, path: str, method: str, where: str, body: Any, said: str
) -> None:
    status, name, text = fault(edited.client.request(method, f"{path}/metadata{where}", json=body))

    assert (status, name) == (400, "badRequest")
    assert said in text
    assert metadata(edited.client, path) == {"a": "b"}


def test_pairs_beyond_the_limit_are_refused_in_each_way(edited: World, path: str) -> None:
    full = dict.fromkeys(map(str, range(MOST_PAIRS)), "v")
    assert put(edited.client, f"{path}/metadata", {"metadata": full}).status_code == 200

    answers = [
        edited.client.post(f"{path}/metadata", json={"metadata": {"more": "v"}}),
        put(edited.client, f"{path}/metadata/more", {"meta": {"more": "v"}}),
    ]

    for each in answers:
        assert fault(each)[:2] == (400, "badRequest")
        assert "129 pairs; the limit is 128" in each.text
    assert metadata(edited.client, path) == full


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("method", "where", "body"),
    [
        ("PUT", "", {"name": "x"}),
        ("DELETE", "", None),
        ("GET", "/metadata", None),
        ("POST", "/metadata", {"metadata": {"k": "v"}}),
        ("PUT", "/metadata", {"metadata": {"k": "v"}}),
        ("GET", "/metadata/k", None),
        ("PUT", "/metadata/k", {"meta": {"k": "v"}}),
        ("DELETE", "/metadata/k", None),
    ],
)
def test_unknown_record_is_not_found(edited: World, kind: str, method: str, where: str, body: Any) -> None:
    sent = {kind[:-1]: body} if body and not where else body

    answer = edited.client.request(method, f"{kind}/{NOBODY}{where}", json=sent)

    assert fault(answer) == (404, "itemNotFound", f"{kind[:-1].title()} {NOBODY} could not be found.")


def test_delete_is_refused_with_the_way_to_unmanage(edited: World, path: str) -> None:
    status, name, text = fault(edited.client.request("DELETE", path))

    assert (status, name) == (403, "forbidden")
    assert text.startswith("snapmanage never deletes anything on a backend; unmanage it with POST ")
    assert f"/{path}/action os-unmanage" in text
    assert edited.client.get(path).status_code == 200


def test_delete_with_the_parameters_of_clients_is_refused_alike(edited: World, path: str) -> None:
    plain = edited.client.request("DELETE", path)

    assert [edited.client.request("DELETE", f"{path}?{query}").text for query in ("cascade=True", "force=true")] == [
        plain.text,
        plain.text,
    ]


@pytest.mark.parametrize(
    ("roles", "project", "statuses"),
    [
        ("member", PROJECT, (200, 200, 200, 200, 403)),
        ("reader", PROJECT, (403, 403, 403, 200, 403)),
        ("admin", OTHER_PROJECT, (200, 200, 200, 200, 403)),
        ("member", OTHER_PROJECT, (404, 404, 404, 404, 404)),
    ],
)
def test_members_edit_the_records_of_their_project_and_administrators_all(
    edited: World, path: str, roles: str, project: str, statuses: tuple[int, ...]
) -> None:
    client = edited.another_client(project)
    client.headers |= token(roles, project)

    answers = [
        put(client, path, {one(path): {"name": "theirs"}}),
        client.post(f"{path}/metadata", json={"metadata": {"k": "v"}}),
        client.request("DELETE", f"{path}/metadata/k"),
        client.get(f"{path}/metadata"),
        client.request("DELETE", path),
    ]

    client.close()
    assert tuple(each.status_code for each in answers) == statuses


def test_policy_is_checked_before_the_record_is_looked_up(edited: World) -> None:
    reader = edited.another_client()
    reader.headers |= token("reader", PROJECT)

    answer = reader.request("DELETE", f"snapshots/{NOBODY}")

    reader.close()
    assert fault(answer) == (403, "forbidden", "Policy doesn't allow volume:delete_snapshot to be performed.")


def test_only_an_administrator_sets_metadata_of_snapmanage(edited: World, member: Client, path: str) -> None:
    own = {FORCE: "true"}
    ways: list[tuple[str, str, Any]] = [
        ("POST", f"{path}/metadata", {"metadata": own}),
        ("PUT", f"{path}/metadata", {"metadata": own}),
        ("PUT", f"{path}/metadata/{FORCE}", {"meta": own}),
    ]
    if one(path) == "volume":
        ways.append(("PUT", path, {"volume": {"metadata": own}}))

    for method, where, body in ways:
        refused = member.request(method, where, json=body)
        seen = metadata(member, path)
        allowed = edited.client.request(method, where, json=body)
        edited.client.request("DELETE", f"{path}/metadata/{FORCE}")

        assert fault(refused)[:2] == (403, "forbidden")
        assert fault(refused)[2].startswith(f"Only an administrator may set the metadata {FORCE}")
        assert (FORCE in seen, allowed.status_code) == (False, 200)


def test_member_keeps_or_removes_metadata_of_snapmanage_but_changes_none(
    edited: World, member: Client, path: str
) -> None:
    pairs = {FORCE: "false", "a": "b"}
    put(edited.client, f"{path}/metadata", {"metadata": pairs})

    kept = put(member, f"{path}/metadata", {"metadata": pairs | {"c": "d"}})
    changed = put(member, f"{path}/metadata/{FORCE}", {"meta": {FORCE: "true"}})
    removed = member.request("DELETE", f"{path}/metadata/{FORCE}")
    back = put(member, f"{path}/metadata", {"metadata": pairs})

    assert [each.status_code for each in (kept, changed, removed, back)] == [200, 403, 200, 403]
    assert metadata(member, path) == {"a": "b", "c": "d"}


def test_key_of_metadata_has_no_line_break_at_its_end(edited: World, path: str) -> None:
    added = edited.client.post(f"{path}/metadata", json={"metadata": {"tier\n": "gold"}})
    changed = put(edited.client, f"{path}/metadata/tier%0A", {"meta": {"tier\n": "gold"}})

    assert (added.status_code, changed.status_code, metadata(edited.client, path)) == (400, 400, {"a": "b"})
