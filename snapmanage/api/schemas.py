"""Check requests: the JSON Schemas of bodies, and functions for query parameters."""

from collections.abc import Iterable, Mapping
from typing import Any

import jsonschema
from oslo_utils import strutils

from snapmanage import errors
from snapmanage.core.values import ids
from snapmanage.core.values.metadata import MOST_PAIRS
from snapmanage.core.values.text import cut

LARGEST_OFFSET = 2**31 - 1
# Characters of `host` and `cluster`; no column has longer ones, and SQLite refuses patterns of more than 50,000 bytes.
LONGEST_HOST = 255
# Entries of a batch, and values and keys in its body: the check of each takes some ten microseconds.
MOST_ENTRIES = 1000
MOST_VALUES_OF_BATCH = 50_000

Schema = jsonschema.Draft202012Validator

# Python's $ also matches before a line break at the end.
KEY_PATTERN = r"^[a-zA-Z0-9\-_:. /]{1,255}$(?!\n)"
_NAME = {"type": ["string", "null"], "minLength": 0, "maxLength": 255}
_PAIRS = {
    "type": "object",
    "maxProperties": MOST_PAIRS,  # first, so that it is among the first violations
    "propertyNames": {"pattern": KEY_PATTERN},
    "additionalProperties": {"type": "string", "maxLength": 255},
}
_METADATA = _PAIRS | {"type": ["object", "null"]}
_REF = {"type": ["object", "string"], "minProperties": 1, "minLength": 1}
_EXAMPLE_REF = {"source-name": "disk1.img@daily"}
_IGNORED = {"type": ["string", "boolean", "null"]}


def _object(required: list[str], properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "additionalProperties": False, "properties": properties} | more


def _resource(
    name: str, required: list[str], properties: dict[str, Any], example: dict[str, Any], **more: Any
) -> Schema:
    resource = _object(required, properties, **more)
    return Schema(_object([name], {name: resource}, examples=[{name: example}]))


_UUID = {"type": "string", "format": "uuid"}
_SNAPSHOT = {"volume_id": _UUID, "ref": _REF, "name": _NAME, "description": _NAME, "metadata": _METADATA}
_EXAMPLE_SNAPSHOT = {"volume_id": "0f2b7c1e-5a0d-4c57-9b1f-6f2f0a4c9d11", "ref": _EXAMPLE_REF, "name": "monday"}
MANAGE_SNAPSHOT = _resource("snapshot", ["volume_id", "ref"], _SNAPSHOT, _EXAMPLE_SNAPSHOT)
_KEY = {"type": "string", "pattern": "^[ -~]{1,255}$"}
_ENTRY = _object(["volume_id", "ref"], _SNAPSHOT | {"id": _UUID, "idempotency_key": _KEY})
_ENTRIES = {"type": "array", "minItems": 1, "maxItems": MOST_ENTRIES}
MANAGE_SNAPSHOTS = Schema(
    _object(["snapshots"], {"snapshots": _ENTRIES | {"items": _ENTRY}})
    | {"examples": [{"snapshots": [_EXAMPLE_SNAPSHOT | {"idempotency_key": "adopt-monday"}]}]}
)
# A malformed entry of a batch refuses no other, so a batch and its entries are checked apart.
BATCH = Schema(_object(["snapshots"], {"snapshots": _ENTRIES}))
ENTRY = Schema(_ENTRY)
# Common clients send the last four; they have no meaning here and are ignored.
MANAGE_VOLUME = _resource(
    "volume",
    ["host", "ref"],
    {
        "host": {"type": "string", "minLength": 1, "maxLength": LONGEST_HOST},
        "ref": _REF,
        "name": _NAME,
        "description": _NAME,
        "metadata": _METADATA,
        "volume_type": _IGNORED,
        "availability_zone": _IGNORED,
        "bootable": _IGNORED,
        "cluster": {"type": "null"},
    },
    {"host": "storage-1@fast", "ref": {"source-name": "disk1.img"}},
)
# The older names of both fields are `display_name` and `display_description`; the Block Storage API accepts them too.
_EDITED = {"name": _NAME, "description": _NAME, "display_name": _NAME, "display_description": _NAME}
EDIT_SNAPSHOT = _resource("snapshot", [], _EDITED, {"name": "monday"}, minProperties=1)
EDIT_VOLUME = _resource("volume", [], _EDITED | {"metadata": _PAIRS}, {"name": "my-disk", "metadata": {"tier": "gold"}})
METADATA = Schema(
    {
        "type": "object",
        "required": ["metadata"],
        "additionalProperties": False,
        "properties": {"metadata": _PAIRS},
        "examples": [{"metadata": {"tier": "gold"}}],
    }
)
ONE_PAIR = Schema(
    {
        "type": "object",
        "required": ["meta"],
        "additionalProperties": False,
        "properties": {"meta": _PAIRS | {"minProperties": 1, "maxProperties": 1}},
        "examples": [{"meta": {"tier": "gold"}}],
    }
)


def _actions(kind: str) -> Schema:
    """Return the schema of the actions on a record; its description is the text of a refusal."""
    nothing = {"type": ["object", "null"], "maxProperties": 0}
    return Schema(
        {
            "description": f'Send one action: {{"os-unmanage": null}} or {{"retry": null}}; a {kind} has no '
            "others, and snapmanage never deletes anything on a backend.",
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": False,
            "properties": {"os-unmanage": nothing, "retry": nothing},
            "examples": [{"os-unmanage": None}, {"retry": None}],
        }
    )


SNAPSHOT_ACTION = _actions("snapshot")
VOLUME_ACTION = _actions("volume")


_TEXT = {"type": "string", "minLength": 1, "maxLength": 255}


def _service(example: dict[str, str]) -> Schema:
    """Return the schema of a change of a server, with the properties of the example."""
    properties = dict.fromkeys(example, _TEXT)
    return Schema(
        {
            "type": "object",
            "required": list(example),
            "additionalProperties": False,
            "properties": properties,
            "examples": [example],
        }
    )


_SERVER = {"host": "storage-1@fast", "binary": "cinder-volume"}
SERVICE = _service(_SERVER)
SERVICE_WITH_REASON = _service(_SERVER | {"disabled_reason": "array swap"})
QUOTA_SET = Schema(
    {
        "type": "object",
        "required": ["quota_set"],
        "additionalProperties": False,
        "properties": {
            "quota_set": {
                "type": "object",
                "maxProperties": MOST_PAIRS,
                "additionalProperties": {"type": ["integer", "string"], "maxLength": 255},
            }
        },
        "examples": [{"quota_set": {"snapshots": 100, "gigabytes": -1}}],
    }
)


def integer(parameters: Mapping[str, str], name: str, default: int, largest: int) -> int:
    """Return a parameter as a whole number from 0 to `largest`; raise `InvalidRequest` for another value."""
    text = parameters.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()):
        raise errors.InvalidRequest(f"{name} must be a whole number of at least 0, not {cut(text)!r}")
    value = int(text) if len(text) < 30 else largest + 1
    if value > largest:
        raise errors.InvalidRequest(f"{name} must be at most {largest}")
    return value


def boolean(parameters: Mapping[str, str], name: str) -> bool | None:
    """Return a parameter as a boolean, None if it is absent; raise `InvalidRequest` for another value."""
    try:
        return bool(strutils.bool_from_string(parameters[name], strict=True)) if name in parameters else None
    except ValueError as error:
        raise errors.InvalidRequest(f"{name} must be true or false") from error


def uuid(parameters: Mapping[str, str], name: str) -> str | None:
    """Return a parameter as a UUID, None if it is absent; raise `InvalidRequest` for another value."""
    return ids.parse_uuid(name, parameters[name]) if name in parameters else None


def limit(parameters: Mapping[str, str], largest: int) -> int:
    """Return the page size: the parameter `limit`, reduced to `largest`."""
    text = parameters.get("limit", "")
    if text.isascii() and text.isdigit() and len(text) > 18:
        return largest
    return min(integer(parameters, "limit", largest, 10**18), largest)


def sort(parameters: Mapping[str, str], default: str) -> list[tuple[str, str]]:
    """Return sort keys with directions from `sort=key:dir,…` or `sort_key` and `sort_dir`; the default is desc."""
    if "sort" not in parameters:
        return [(parameters.get("sort_key", default), parameters.get("sort_dir", "desc"))]
    if "sort_key" in parameters or "sort_dir" in parameters:
        raise errors.InvalidRequest("sort can't be combined with sort_key and sort_dir")
    pairs = [part.strip().partition(":") for part in parameters["sort"].split(",")]
    return [(key, direction or "desc") for key, _, direction in pairs]


def one_of(kind: str, value: str, known: Iterable[str]) -> None:
    """Raise `InvalidRequest` unless `value` is in `known`."""
    if value not in known:
        raise errors.InvalidRequest(f"{kind} {cut(value)!r} must be one of {', '.join(known)}")
