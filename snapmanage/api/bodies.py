"""Read the bodies of requests: JSON that every parser and database keeps as it is, checked by a schema."""

import json
import math
from collections.abc import Sequence
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
# The keywords of a schema that are limits, with the things that they count.
_LIMITS = {"maxLength": "characters", "maxProperties": "properties", "maxItems": "entries"}


def parse(raw: bytes, schema: Schema, most_values: int | None = None) -> Any:
    """Parse a body; raise `InvalidRequest` if it is not JSON, can't be stored, or violates the schema.

    A body with more than `most_values` values and keys is refused before the check by the schema.
    """
    body = load(raw, most_values)
    check(body, schema)
    return body


def check(value: Any, schema: Schema, place: Sequence[str] = ()) -> None:
    """Raise `InvalidRequest` if a value at `place` of the body violates its schema."""
    if violation := jsonschema.exceptions.best_match(islice(schema.iter_errors(value), MOST_VIOLATIONS)):
        field = "/".join([*place, *map(str, violation.absolute_path)]) or "body"
        raise errors.InvalidRequest(f"Invalid input for field/attribute {field}. {_explain(violation)}")


def load(raw: bytes, most_values: int | None = None) -> Any:
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
    for count, (depth, each) in enumerate(walk(value), 1):
        if most_values and count > most_values:
            raise errors.InvalidRequest(f"the body has more than {most_values} values and keys; send fewer entries")
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
    limit = _LIMITS.get(str(violation.validator))
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
