"""Find out which additions to the Block Storage API a service has, by its own description (OpenAPI)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snapmanage.client.api.http import Api

SNAPSHOTS = "/v3/{project_id}/os-snapshot-manage"
BATCH = f"{SNAPSHOTS}/batch"
ACTION = "/v3/{project_id}/snapshots/{snapshot_id}/action"
KEY_HEADER = "Idempotency-Key"
ID_HEADER = "Snapmanage-Snapshot-Id"
# The place of the properties of an operation's body.
_BODY = ("requestBody", "content", "application/json", "schema", "properties")


@dataclass(frozen=True)
class Features:
    """The additions that the commands use; a plain Cinder has none of them.

    `filters` are the parameters of a list of manageable snapshots.
    """

    is_snapmanage: bool = False
    keeps_idempotency_keys: bool = False
    takes_chosen_ids: bool = False
    takes_batches: bool = False
    filters: frozenset[str] = frozenset()
    retries: bool = False


def discover(api: Api) -> Features:
    """Ask the service for its description; a service without one has no additions."""
    root, version, _ = api.endpoint.partition("/v3")
    answer = api.send("GET", f"{root}{version}/openapi.json")
    return of_description(answer.body) if answer.is_success else Features()


def of_description(document: Mapping[str, Any]) -> Features:
    """Return the features that an OpenAPI document describes; a document of another program describes none."""
    paths = document.get("paths")
    if not isinstance(paths, Mapping) or _value(document, "info", "title") != "snapmanage":
        return Features()
    path = paths.get(SNAPSHOTS, {})
    headers = _parameters(document, path.get("post", {}))
    return Features(
        is_snapmanage=True,
        keeps_idempotency_keys=KEY_HEADER in headers,
        takes_chosen_ids=ID_HEADER in headers,
        takes_batches=BATCH in paths,
        retries=isinstance(_value(paths, ACTION, "post", *_BODY, "retry"), Mapping),
        filters=_parameters(document, path.get("get", {})),
    )


def _parameters(document: Mapping[str, Any], operation: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of an operation's parameters, headers included."""
    shared = document.get("components", {}).get("parameters", {})
    named = (shared.get(each["$ref"].rpartition("/")[2], {}) if "$ref" in each else each for each in _list(operation))
    return frozenset(each["name"] for each in named if "name" in each)


def _list(operation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = operation.get("parameters", [])
    return found


def _value(document: Mapping[str, Any], *keys: str) -> object:
    value: Any = document
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
