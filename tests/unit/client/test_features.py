"""The description of a service shows its additions to the Block Storage API."""

from typing import Any

from snapmanage.client.api.features import ACTION, SNAPSHOTS, Features, of_description


def description(post: list[dict[str, Any]], batch: bool = False) -> dict[str, Any]:
    paths: dict[str, Any] = {SNAPSHOTS: {"get": {"parameters": [{"name": "host"}]}, "post": {"parameters": post}}}
    if batch:
        paths[f"{SNAPSHOTS}/batch"] = {}
    shared = {"idempotency_key": {"name": "Idempotency-Key"}}
    return {"info": {"title": "snapmanage"}, "paths": paths, "components": {"parameters": shared}}


def test_additions_are_read_from_the_description() -> None:
    post = [{"$ref": "#/components/parameters/idempotency_key"}, {"name": "Snapmanage-Snapshot-Id"}]

    assert of_description(description(post, batch=True)) == Features(True, True, True, True, frozenset({"host"}))
    assert of_description(description([])) == Features(True, filters=frozenset({"host"}))


def test_actions_are_read_from_the_description() -> None:
    schema: dict[str, Any] = {"properties": {"os-unmanage": {}, "retry": {}}}
    body = {"content": {"application/json": {"schema": schema}}}
    document = description([])
    document["paths"][ACTION] = {"post": {"requestBody": body}}

    assert of_description(document).retries
    del schema["properties"]["retry"]
    assert not of_description(document).retries


def test_description_of_another_program_shows_no_additions() -> None:
    assert of_description({}) == Features()
    assert of_description({"info": {"title": "other"}, "paths": {}}) == Features()
    assert of_description({"info": "text", "paths": []}) == Features()
