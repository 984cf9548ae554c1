"""Parse and check requests: bodies by JSON Schema, query parameters by functions."""

import json
import math
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import jsonschema
from oslo_utils import strutils

from snapmanage import errors
from snapmanage.core.edits import MOST_PAIRS
from snapmanage.core.values import ids
from snapmanage.core.values.text import DEEPEST, cut, storable, walk

LARGEST_OFFSET = 2**31 - 1
# JSON parsers disagree about larger numbers.
LARGEST_NUMBER = 2**63 - 1

# Characters of `host` and `cluster`; no column has longer ones, and SQLite refuses patterns of more than 50,000 bytes.
LONGEST_HOST = 255
# Violations of a schema that are compared for the best explanation; each costs as much as a small request.
MOST_VIOLATIONS = 20

Schema = jsonschema.Draft202012Validator

KEY_PATTERN = r"^[a-zA-Z0-9\-_:. /]{1,255}$"
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


def _resource(
    name: str, required: list[str], properties: dict[str, Any], example: dict[str, Any], **more: Any
) -> Schema:
    resource = {"type": "object", "required": required, "additionalProperties": False, "properties": properties} | more
    return Schema(
        {
            "type": "object",
            "required": [name],
            "additionalProperties": False,
            "properties": {name: resource},
            "examples": [{name: example}],
        }
    )


MANAGE_SNAPSHOT = _resource(
    "snapshot",
    ["volume_id", "ref"],
    {
        "volume_id": {"type": "string", "format": "uuid"},
        "ref": _REF,
        "name": _NAME,
        "description": _NAME,
        "metadata": _METADATA,
    },
    {"volume_id": "0f2b7c1e-5a0d-4c57-9b1f-6f2f0a4c9d11", "ref": _EXAMPLE_REF, "name": "monday"},
)
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
UNMANAGE = Schema(
    {
        "type": "object",
        "required": ["os-unmanage"],
        "additionalProperties": False,
        "properties": {"os-unmanage": {"type": ["object", "null"], "maxProperties": 0}},
        "examples": [{"os-unmanage": None}],
    }
)


def parse(raw: bytes, schema: Schema) -> Any:
    """Parse a body; raise `InvalidRequest` if it is not JSON, can't be stored, or violates the schema."""
    body = load(raw)
    if violation := jsonschema.exceptions.best_match(islice(schema.iter_errors(body), MOST_VIOLATIONS)):
        field = "/".join(str(part) for part in violation.absolute_path) or "body"
        raise errors.InvalidRequest(f"Invalid input for field/attribute {field}. {_explain(violation)}")
    return body


def load(raw: bytes) -> Any:
    """Parse JSON from a client; raise `InvalidRequest` if some parser or database would refuse or change it."""
    try:
        value = json.loads(
            raw.decode(),
            object_pairs_hook=_refuse_repeated_keys,
            parse_int=_parse_integer,
            parse_float=_parse_float,
            parse_constant=_parse_float,
        )
    except (ValueError, RecursionError) as error:
        raise errors.InvalidRequest(f"the body is not JSON: {error}") from error
    for depth, each in walk(value):
        if depth > DEEPEST:
            raise errors.InvalidRequest(f"the body is nested deeper than {DEEPEST} levels")
        if isinstance(each, str) and not storable(each):
            raise errors.InvalidRequest("the body holds a NUL or an unpaired surrogate; send Unicode text without NUL")
    return value


def _explain(violation: jsonschema.ValidationError) -> str:
    """Return the reason of a violation, with the limit if the value exceeds one."""
    limit = {"maxLength": "characters", "maxProperties": "properties"}.get(str(violation.validator))
    if limit is None:
        return cut(violation.message)
    given: Any = violation.instance
    return f"{cut(repr(given), 60)} has {len(given)} {limit}; the limit is {violation.validator_value}, so send fewer"


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object; raise `InvalidRequest` for a repeated key, of which parsers keep different values."""
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise errors.InvalidRequest(f"the body has the key {cut(name)!r} twice in one object")
        made[name] = value
    return made


def _parse_integer(text: str) -> int:
    value = int(text) if len(text) < 30 else LARGEST_NUMBER + 1
    if abs(value) > LARGEST_NUMBER:
        raise errors.InvalidRequest(f"the body holds a number that does not fit into 64 bits: {cut(text)}")
    return value


def _parse_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise errors.InvalidRequest(f"the body is not JSON: {cut(text)} is not a finite number")
    return value


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
