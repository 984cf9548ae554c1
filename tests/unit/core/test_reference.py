"""How callers name backend objects."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapmanage import errors
from snapmanage.core.reference import LONGEST_TEXT, MOST_VALUES, Reference
from snapmanage.core.values.text import DEEPEST

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def test_bare_name_means_a_source_name() -> None:
    assert Reference.of("daily") == Reference.of({"source-name": "daily"}) == Reference.named("daily")


def test_references_are_equal_with_their_keys_in_any_order() -> None:
    assert Reference.of({"a": 1, "b": {"d": 2, "c": 3}}) == Reference.of({"b": {"c": 3, "d": 2}, "a": 1})


def test_reference_is_case_sensitive() -> None:
    assert Reference.named("Daily") != Reference.named("daily")


@pytest.mark.parametrize("nothing", [{}, None, [], ["daily"], 7])
def test_empty_or_malformed_reference_is_refused(nothing: object) -> None:
    with pytest.raises(errors.InvalidReference):
        Reference.of(nothing)  # type: ignore[arg-type]


def test_reference_has_at_most_32_levels() -> None:
    deepest: Any = "daily"
    for _ in range(DEEPEST):
        deepest = {"a": deepest}

    assert Reference.of(deepest).value == deepest
    with pytest.raises(errors.InvalidReference, match="nested more than 32 levels deep"):
        Reference.of({"a": deepest})


@pytest.mark.parametrize("many", [[[]] * (MOST_VALUES - 3), dict.fromkeys(map(str, range(497)), 0) | {"": [0]}])
def test_reference_has_at_most_1000_values(many: Any) -> None:
    more = [*many, 0] if isinstance(many, list) else many | {"": [0, 0]}

    assert Reference.of({"a": many}).value == {"a": many}
    with pytest.raises(errors.InvalidReference, match="more than 1000 values"):
        Reference.of({"a": more})


def test_reference_has_at_most_65536_characters() -> None:
    longest = "x" * (LONGEST_TEXT - len(Reference.of("a").text) + 1)

    assert Reference.of(longest).name() == longest
    with pytest.raises(errors.InvalidReference, match="the limit is 65536"):
        Reference.of(longest + "x")


@given(NAMES)
def test_reference_returns_the_name_that_it_was_made_of(name: str) -> None:
    assert Reference.named(name).name() == name
    assert Reference.named(name) == Reference.of({"source-name": name})


@given(NAMES)
def test_text_of_a_reference_is_ascii_and_parses_to_the_same_reference(name: str) -> None:
    reference = Reference.named(name)

    assert reference.text.isascii()
    assert Reference.of(json.loads(reference.text)) == reference


@pytest.mark.parametrize(
    "value",
    [
        {"source-id": "daily"},
        {"source-name": "daily", "source-id": "7"},
        {"source-name": ""},
        {"source-name": 7},
        {"source-name": None},
        {"source-name": ["daily"]},
    ],
)
def test_reference_without_exactly_one_source_name_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(errors.InvalidReference, match="source-name"):
        Reference.of(value).name()


def test_driver_can_choose_the_key_that_holds_the_name() -> None:
    assert Reference.of({"source-id": "7"}).name("source-id") == "7"
