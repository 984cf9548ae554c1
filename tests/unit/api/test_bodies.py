"""Bodies at their limits."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from snapmanage import errors
from snapmanage.api import bodies, schemas
from snapmanage.api.bodies import LARGEST_NUMBER
from snapmanage.api.schemas import MANAGE_SNAPSHOT
from snapmanage.core.values.text import DEEPEST
from tests.examples import VOLUME_ID


def parsed(ref: Any) -> Any:
    """Parse the body of a request whose reference is `ref`, which has two levels around it."""
    body = json.dumps({"snapshot": {"volume_id": VOLUME_ID, "ref": ref}}).encode()
    return bodies.parse(body, MANAGE_SNAPSHOT)["snapshot"]["ref"]


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def test_body_has_at_most_32_levels() -> None:
    deepest = nested(DEEPEST - 2)

    assert parsed(deepest) == deepest
    with pytest.raises(errors.InvalidRequest, match="nested deeper than 32 levels"):
        parsed(nested(DEEPEST - 1))


@pytest.mark.parametrize("sign", [1, -1])
def test_number_fits_into_64_bits(sign: int) -> None:
    assert parsed({"a": sign * LARGEST_NUMBER}) == {"a": sign * LARGEST_NUMBER}
    with pytest.raises(errors.InvalidRequest, match="does not fit into 64 bits"):
        parsed({"a": sign * (LARGEST_NUMBER + 1)})


def test_number_of_compared_violations_is_limited() -> None:
    """A body can have ten thousand violations."""
    found: list[int] = []

    def violations(*_: object) -> Iterator[jsonschema.ValidationError]:
        for number in range(10_000):
            found.append(number)
            yield jsonschema.ValidationError("wrong")

    validators: Any = jsonschema.validators  # its functions have no types
    schema = validators.extend(schemas.Schema, {"title": violations})({"title": "a body"})

    with pytest.raises(errors.InvalidRequest, match="attribute body"):
        bodies.parse(b"{}", schema)
    assert len(found) == bodies.MOST_VIOLATIONS


def test_number_of_wrong_metadata_is_reported_before_the_wrong_ones() -> None:
    snapshot = {"volume_id": VOLUME_ID, "ref": "a", "metadata": {str(each): each for each in range(9_000)}}

    with pytest.raises(errors.InvalidRequest, match="has 9000 properties; the limit is 128"):
        bodies.parse(json.dumps({"snapshot": snapshot}).encode(), MANAGE_SNAPSHOT)
