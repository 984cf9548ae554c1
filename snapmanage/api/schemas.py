"""What requests may say, and reading it: bodies by JSON Schema, parameters by hand."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import jsonschema
from oslo_utils import strutils

from snapmanage import errors
from snapmanage.core import ids
from snapmanage.core.text import DEEPEST, keepable, walk

LARGEST_OFFSET = 2**31 - 1
# Beyond, one reader's number isn't another's.
LARGEST_NUMBER = 2**63 - 1

Schema = jsonschema.Draft202012Validator

_NAME = {"type": ["string", "null"], "minLength": 0, "maxLength": 255}
_METADATA = {
    "type": ["object", "null"],
    "propertyNames": {"pattern": r"^[a-zA-Z0-9\-_:. /]{1,255}$"},
    "additionalProperties": {"type": "string", "maxLength": 255},
}
_REF = {"type": ["object", "string"], "minProperties": 1, "minLength": 1}
_EXAMPLE_REF = {"source-name": "disk1.img@daily"}
_IGNORED = {"type": ["string", "boolean", "null"]}


def _resource(name: str, required: list[str], properties: dict[str, Any], example: dict[str, Any]) -> Schema:
    resource = {"type": "object", "required": required, "additionalProperties": False, "properties": properties}
    return Schema(
        {
            "type": "object",
            "required": [name],
            "additionalProperties": False,
            "properties": {name: resource},
            "examples": [{name: example}],
        },
        format_checker=_FORMATS,
    )


_FORMATS = jsonschema.FormatChecker(formats=())


@_FORMATS.checks("uuid")
def _is_uuid(value: object) -> bool:
    return not isinstance(value, str) or ids.uuid_text(value) is not None


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
# The last four are what the field's clients send along; there is nothing that they could mean here.
MANAGE_VOLUME = _resource(
    "volume",
    ["host", "ref"],
    {
        "host": {"type": "string", "minLength": 1, "maxLength": 255},
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
UNMANAGE = Schema(
    {
        "type": "object",
        "required": ["os-unmanage"],
        "additionalProperties": False,
        "properties": {"os-unmanage": {"type": ["object", "null"], "maxProperties": 0}},
        "examples": [{"os-unmanage": None}],
    }
)


def parse(raw: bytes) -> Any:
    """The JSON of a body; `InvalidRequest` for what is none, or can't be kept."""
    try:
        body = json.loads(
            raw.decode(), object_pairs_hook=_object, parse_int=_whole, parse_float=_float, parse_constant=_float
        )
    except (ValueError, RecursionError) as error:
        raise errors.InvalidRequest(f"the body is not JSON: {error}") from error
    for depth, value in walk(body):
        if depth > DEEPEST:
            raise errors.InvalidRequest(f"the body is nested more than {DEEPEST} levels deep")
        if isinstance(value, str) and not keepable(value):
            raise errors.InvalidRequest(
                "the body holds a NUL or half of a surrogate pair; texts are Unicode without NUL"
            )
    return body


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names are its own: of two values for one, another reader may take the other."""
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise errors.InvalidRequest(f"the body has the key {_cut(name)!r} twice in one object")
        made[name] = value
    return made


def _whole(text: str) -> int:
    value = int(text) if len(text) < 30 else LARGEST_NUMBER + 1
    if abs(value) > LARGEST_NUMBER:
        raise errors.InvalidRequest(f"the body holds a number beyond 64 bits: {_cut(text)}")
    return value


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise errors.InvalidRequest(f"the body is not JSON that others can read: {_cut(text)} is no number")
    return value


def check(body: Any, schema: Schema) -> None:
    """Raise `InvalidRequest` naming the field that breaks the schema."""
    error = jsonschema.exceptions.best_match(schema.iter_errors(body))
    if error is not None:
        field = "/".join(str(part) for part in error.absolute_path) or "body"
        raise errors.InvalidRequest(f"Invalid input for field/attribute {field}. {_cut(error.message)}")


def integer(parameters: Mapping[str, str], name: str, default: int, largest: int) -> int:
    """A parameter that is a whole number from 0 to `largest`; `InvalidRequest` otherwise."""
    text = parameters.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()):
        raise errors.InvalidRequest(f"{name} must be a whole number of at least 0, not {_cut(text)!r}")
    value = int(text) if len(text) < 30 else largest + 1
    if value > largest:
        raise errors.InvalidRequest(f"{name} must be at most {largest}")
    return value


def boolean(parameters: Mapping[str, str], name: str) -> bool | None:
    """A parameter that is true or false, None where it isn't there; `InvalidRequest` otherwise."""
    try:
        return bool(strutils.bool_from_string(parameters[name], strict=True)) if name in parameters else None
    except ValueError as error:
        raise errors.InvalidRequest(f"{name} must be true or false") from error


def uuid_text(parameters: Mapping[str, str], name: str) -> str | None:
    """A parameter that is a UUID, None where it isn't there; `InvalidRequest` otherwise."""
    text = parameters.get(name)
    read = ids.uuid_text(text)
    if text is not None and read is None:
        raise errors.InvalidRequest(f"{name} must be a UUID, not {_cut(text)!r}")
    return read


def limit(parameters: Mapping[str, str], largest: int) -> int:
    """The page's size: what is asked for, cut to the largest."""
    text = parameters.get("limit", "")
    if text.isascii() and text.isdigit() and len(text) > 18:
        return largest
    return min(integer(parameters, "limit", largest, 10**18), largest)


def sort(parameters: Mapping[str, str], default: str) -> list[tuple[str, str]]:
    """Keys with directions: `sort=key:dir,…`, or the older `sort_key` and `sort_dir`, not both; desc by default."""
    if "sort" not in parameters:
        return [(parameters.get("sort_key", default), parameters.get("sort_dir", "desc"))]
    if "sort_key" in parameters or "sort_dir" in parameters:
        raise errors.InvalidRequest("sort can't be combined with sort_key and sort_dir")
    pairs = [part.strip().partition(":") for part in parameters["sort"].split(",")]
    return [(key, direction or "desc") for key, _, direction in pairs]


def one_of(what: str, value: str, known: Iterable[str]) -> None:
    """Raise `InvalidRequest` unless the value is one of those known."""
    if value not in known:
        raise errors.InvalidRequest(f"{what} {_cut(value)!r} must be one of {', '.join(known)}")


def _cut(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]}…"
