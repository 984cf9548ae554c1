"""JSON texts of our own values."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from snapmanage.json_text import compact


@pytest.mark.parametrize(
    "value",
    [
        {"name": "db", "deep": [{"n": None, "yes": True, "size": 1.5}], "": ""},
        "Zürich, 東京, \U0001f4be",
        'quotes " and \\ and \0 and \x7f',
        "a half of a pair: \ud83d",
        2**70,
        {1: "a number as a name"},
    ],
)
def test_text_is_ascii_and_means_what_the_standard_library_writes(value: Any) -> None:
    assert compact(value).isascii()
    assert json.loads(compact(value)) == json.loads(json.dumps(value))


def test_text_has_no_blanks() -> None:
    assert compact({"a": [1, "é"]}) == r'{"a":[1,"\u00e9"]}'
    assert compact({"a": [1, 2]}) == '{"a":[1,2]}'


def test_value_that_json_has_no_form_of_is_refused() -> None:
    with pytest.raises(TypeError, match="datetime"):
        compact({"at": datetime(2026, 1, 1, tzinfo=UTC)})
