"""What requests may say, and reading it: bodies by JSON Schema, parameters by hand."""

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema

from snapmanage import errors
from snapmanage.core.records import keepable

# More could exceed what JSON can be written or read with, here or wherever a message goes.
DEEPEST = 32
LARGEST_OFFSET = 2**31 - 1

Schema = jsonschema.Draft202012Validator

_NAME = {"type": ["string", "null"], "minLength": 0, "maxLength": 255}
_METADATA = {
    "type": ["object", "null"],
    "propertyNames": {"pattern": r"^[a-zA-Z0-9\-_:. /]{1,255}$"},
    "additionalProperties": {"type": "string", "maxLength": 255},
}
_REF = {"type": ["object", "string"], "minProperties": 1, "minLength": 1}
_IGNORED = {"type": ["string", "boolean", "null"]}


def _resource(name: str, required: list[str], properties: dict[str, Any]) -> Schema:
    resource = {"type": "object", "required": required, "additionalProperties": False, "properties": properties}
    return Schema(
        {"type": "object", "required": [name], "additionalProperties": False, "properties": {name: resource}},
        format_checker=_FORMATS,
    )


_FORMATS = jsonschema.FormatChecker(formats=())


@_FORMATS.checks("uuid", raises=ValueError)
def _is_uuid(value: object) -> bool:
    return not isinstance(value, str) or bool(uuid.UUID(value))


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
)
UNMANAGE = Schema(
    {
        "type": "object",
        "required": ["os-unmanage"],
        "additionalProperties": False,
        "properties": {"os-unmanage": {"type": ["object", "null"], "maxProperties": 0}},
    }
)


def parse(raw: bytes) -> Any:
    """The JSON of a body; `InvalidRequest` for what is none, or can't be kept."""
    try:
        body = json.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise errors.InvalidRequest(f"the body is not JSON: {error}") from error
    for depth, value in _values(body):
        if depth > DEEPEST:
            raise errors.InvalidRequest(f"the body is nested more than {DEEPEST} levels deep")
        if isinstance(value, str) and not keepable(value):
            raise errors.InvalidRequest(
                "the body holds a NUL or half of a surrogate pair; texts are Unicode without NUL"
            )
    return body


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


def limit(parameters: Mapping[str, str], largest: int) -> int:
    """The page's size: what is asked for, cut to the largest."""
    text = parameters.get("limit", "")
    if text.isascii() and text.isdigit() and len(text) > 18:
        return largest
    return min(integer(parameters, "limit", largest, 10**18), largest)


def _values(body: Any) -> Iterator[tuple[int, Any]]:
    """Every value and every key in a body, with its depth."""
    stack = [(0, body)]
    while stack:
        depth, value = stack.pop()
        yield depth, value
        inside = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
        stack.extend((depth + 1, each) for each in inside)


def _cut(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]}…"
