"""Read the bodies of requests: JSON that every parser and database keeps as it is, checked by a schema."""

import json
import math
from itertools import islice
from typing import Any

import jsonschema

from snapmanage import errors
from snapmanage.api.schemas import Schema
from snapmanage.core.values.text import DEEPEST, cut, storable, walk

# JSON parsers disagree about larger numbers.
LARGEST_NUMBER = 2**63 - 1
# Violations of a schema that are compared for the best explanation; each costs as much as a small request.
MOST_VIOLATIONS = 20


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
    """Return the reason of a violation: what its schema requires, or the limit if the value exceeds one."""
    schema: Any = violation.schema
    if "description" in schema:
        return str(schema["description"])
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
