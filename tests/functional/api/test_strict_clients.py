"""Answers have exactly the fields of the Block Storage API: checked by Tempest, its strictest client."""

from collections.abc import Iterator
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from tempest.lib.api_schema.response.compute.v2_1 import parameter_types
from tempest.lib.api_schema.response.volume import (
    extensions,
    limits,
    manage_snapshot,
    manage_volume,
    messages,
    quotas,
    scheduler_stats,
    services,
    snapshots,
    versions,
    volume_types,
    volumes,
)
from tempest.lib.api_schema.response.volume.v3_7 import services as services_3_7
from tempest.lib.api_schema.response.volume.v3_61 import volumes as volumes_3_61
from tempest.lib.api_schema.response.volume.v3_63 import volumes as volumes_3_63
from tempest.lib.api_schema.response.volume.v3_64 import volumes as volumes_3_64
from tempest.lib.api_schema.response.volume.v3_65 import volumes as volumes_3_65
from tempest.lib.api_schema.response.volume.v3_69 import volumes as volumes_3_69
from tempest.lib.common.rest_client import RestClient
from tempest.lib.exceptions import InvalidHTTPResponseBody

from tests.functional.client import PROJECT, SERVER, Client
from tests.functional.world import World, five_snapshots, running_world

Schema = dict[str, Any]

ANN = "a" * 32
VERSIONS = ["3.0", "3.8", "3.14", "3.41", "3.60", "3.61", "3.63", "3.64", "3.65", "3.69", "latest"]
VOLUMES = {
    "3.61": volumes_3_61,
    "3.63": volumes_3_63,
    "3.64": volumes_3_64,
    "3.65": volumes_3_65,
    "3.69": volumes_3_69,
    "latest": volumes_3_69,
}
# Tempest has a schema for snapshots of 3.0 only; these are the later fields from the API reference.
SNAPSHOT_ADDITIONS: dict[int, Schema] = {
    14: {"group_snapshot_id": parameter_types.uuid_or_null},
    41: {"user_id": {"type": "string", "format": "uuid"}},
    65: {"consumes_quota": {"type": "boolean"}},
}
MANAGEABLE = {
    "reference": {"type": "object", "minProperties": 1},
    "size": {"type": "integer"},
    "safe_to_manage": {"type": "boolean"},
    "source_reference": {
        "type": "object",
        "properties": {"id": {"type": "string", "format": "uuid"}, "source-name": {"type": "string"}},
        "additionalProperties": False,
        "minProperties": 1,
    },
}
MANAGEABLE_DETAIL = MANAGEABLE | {
    "reason_not_safe": {"type": ["string", "null"]},
    "cinder_id": parameter_types.uuid_or_null,
    "extra_info": {"type": ["object", "string", "null"]},
}


@pytest.fixture(scope="module")
def ann(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Yield a client of a user with an id like Keystone's; the project has a volume and six snapshots, one managed."""
    with running_world(tmp_path_factory.mktemp("strict")) as world:
        world.client.session.headers["X-Auth-Token"] = f"{ANN}:{PROJECT}"
        managing(world)
        yield world.client


def managing(world: World) -> None:
    five_snapshots(world)
    [volume] = world.client.get("volumes").json()["volumes"]
    world.manage_snapshot(volume["id"], "volume-1-snapshot-1")


def check(schema: Schema, answer: requests.Response) -> Any:
    """Return the body of an answer that has passed the checks of Tempest's clients."""
    assert answer.ok, answer.text
    body = answer.json()
    RestClient.validate_response(schema, SimpleNamespace(status=answer.status_code), body)
    return body


def of_version(schema: Schema, version: str, *where: str) -> Schema:
    """Return a schema of snapshots with the fields of later microversions."""
    later = deepcopy(schema)
    described = later["response_body"]
    for name in where:
        described = described[name]
    for since, added in SNAPSHOT_ADDITIONS.items():
        if version == "latest" or int(version.removeprefix("3.")) >= since:
            described["properties"] |= added
            described["required"] += list(added)
    return later


def listing(properties: Schema, name: str = "manageable-snapshots") -> Schema:
    entry = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    body = {
        "type": "object",
        "properties": {name: {"type": "array", "items": entry, "minItems": 1}},
        "additionalProperties": False,
    }
    return {"status_code": [200], "response_body": body}


@pytest.mark.parametrize("version", VERSIONS)
def test_volumes_match_tempest_s_schemas(ann: Client, version: str) -> None:
    schemas: Any = VOLUMES.get(version, volumes)

    made = ann.post("os-volume-manage", version=version, json={"volume": {"host": SERVER, "ref": f"none {version}"}})
    volume_id = made.json()["volume"]["id"]

    assert made.status_code == 202
    if version not in VOLUMES:  # of the others Tempest knows nothing
        check(manage_volume.manage_volume, made)
    check(schemas.show_volume, ann.get(f"volumes/{volume_id}", version=version))
    check(schemas.list_volumes_no_detail, ann.get("volumes?limit=1", version=version))
    detailed = check(schemas.list_volumes_with_detail, ann.get("volumes/detail?limit=1", version=version))
    assert volume_id in str(detailed["volumes"])


@pytest.mark.parametrize("version", VERSIONS)
def test_snapshots_match_tempest_s_schemas(ann: Client, version: str) -> None:
    [volume] = ann.get("volumes?status=available").json()["volumes"]
    asked = {"snapshot": {"volume_id": volume["id"], "ref": f"none {version}", "metadata": {"k": "v"}}}
    many = ("properties", "snapshots", "items")

    made = check(manage_snapshot.manage_snapshot, ann.post("os-snapshot-manage", version=version, json=asked))
    snapshot_id = made["snapshot"]["id"]

    one = of_version(snapshots.show_snapshot, version, "properties", "snapshot")
    check(one, ann.get(f"snapshots/{snapshot_id}", version=version))
    check(snapshots.list_snapshots_no_detail, ann.get("snapshots?limit=2", version=version))
    detailed = of_version(snapshots.list_snapshots_with_detail, version, *many)
    assert len(check(detailed, ann.get("snapshots/detail?limit=2", version=version))["snapshots"]) == 2


@pytest.mark.parametrize("version", ["3.0", "3.8", "latest"])
def test_manageable_snapshots_match_the_reference_s_description(ann: Client, version: str) -> None:
    path = "os-snapshot-manage" if version == "3.0" else "manageable_snapshots"

    check(listing(MANAGEABLE), ann.get(f"{path}?host={SERVER}", version=version))
    check(listing(MANAGEABLE_DETAIL), ann.get(f"{path}/detail?host={SERVER}", version=version))


@pytest.mark.parametrize("version", ["3.0", "3.8", "latest"])
def test_manageable_volumes_match_the_reference_s_description(ann: Client, version: str) -> None:
    path = "os-volume-manage" if version == "3.0" else "manageable_volumes"
    plain, detailed = (
        {name: field for name, field in fields.items() if name != "source_reference"}
        for fields in (MANAGEABLE, MANAGEABLE_DETAIL)
    )

    check(listing(plain, "manageable-volumes"), ann.get(f"{path}?host={SERVER}", version=version))
    check(listing(detailed, "manageable-volumes"), ann.get(f"{path}/detail?host={SERVER}", version=version))


@pytest.mark.parametrize("version", ["3.3", "3.5", "latest"])
def test_messages_match_tempest_s_schemas(ann: Client, version: str) -> None:
    listed = check(messages.list_messages, ann.get("messages", version=version))

    check(messages.show_message, ann.get(f"messages/{listed['messages'][0]['id']}", version=version))


@pytest.mark.parametrize(("version", "known"), [("3.0", services), ("3.8", services_3_7), ("latest", services_3_7)])
def test_services_match_tempest_s_schemas(ann: Client, version: str, known: Any) -> None:
    body = {"host": SERVER, "binary": "cinder-volume", "disabled_reason": "array swap"}

    disabled = ann.request("PUT", "os-services/disable-log-reason", version, json=body)
    listed = ann.get("os-services", version=version)
    del body["disabled_reason"]
    ann.request("PUT", "os-services/enable", version, json=body)

    check(known.disable_log_reason, disabled)
    check(known.list_services, listed)
    check(scheduler_stats.get_pools_no_detail, ann.get("scheduler-stats/get_pools", version=version))
    check(scheduler_stats.get_pools_with_detail, ann.get("scheduler-stats/get_pools?detail=True", version=version))


@pytest.mark.parametrize("version", ["3.0", "latest"])
def test_quotas_and_types_match_tempest_s_schemas(ann: Client, version: str) -> None:
    path = f"os-quota-sets/{PROJECT}"

    check(quotas.show_quota_set, ann.get(path, version=version))
    check(quotas.show_quota_set, ann.get(f"{path}/defaults", version=version))
    check(quotas.show_quota_set_usage, ann.get(f"{path}?usage=True", version=version))
    check(quotas.update_quota_set, ann.request("PUT", path, version, json={"quota_set": {"snapshots": -1}}))
    check(limits.show_limits, ann.get("limits", version=version))
    check(volume_types.list_volume_types, ann.get("types", version=version))
    check(volume_types.show_volume_type, ann.get("types/default", version=version))
    check(volumes.show_volume_summary, ann.get("volumes/summary", version="3.12" if version == "3.0" else version))


@pytest.mark.parametrize("version", ["3.0", "latest"])
def test_extensions_match_tempest_s_schemas(ann: Client, version: str) -> None:
    check(extensions.list_extensions, ann.get("extensions", version=version))


def test_versions_match_tempest_s_schemas(ann: Client) -> None:
    check(versions.list_versions, ann.get("/"))
    check(versions.volume_api_version_details, ann.get("/v3/"))


def test_additional_field_fails_the_schema(ann: Client) -> None:
    [volume] = ann.get("volumes/detail?status=available", version="3.61").json()["volumes"]

    with pytest.raises(InvalidHTTPResponseBody, match="cluster_name"):
        check(volumes.show_volume, ann.get(f"volumes/{volume['id']}", version="3.61"))
