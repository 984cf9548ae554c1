"""Texts and JSON from outside."""

from typing import Any

import pytest

from snapmanage.core.values import text


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("gone: \N{CAMERA}", "gone: \N{CAMERA}"),
        ("NUL \0 and half a pair \ud83d", "NUL \\x00 and half a pair \\ud83d"),
        ("x" * 2001, "x" * 2000 + "…"),
    ],
)
def test_readable_text_can_be_stored_in_every_database(given: str, kept: str) -> None:
    assert text.readable(given) == kept
    assert text.storable(kept)


@pytest.mark.parametrize(("given", "storable"), [("\N{CAMERA}", True), ("a\0b", False), ("\ud83d", False)])
def test_text_with_nul_or_half_a_surrogate_pair_is_not_storable(given: str, storable: bool) -> None:
    assert text.storable(given) is storable


@pytest.mark.parametrize(
    ("value", "levels"),
    [(7, 0), ("text", 0), ({}, 0), ([1], 1), ({"a": 1}, 1), ({"a": [{}]}, 2), ([[], {"a": [1]}], 3)],
)
def test_walk_counts_the_objects_and_lists_around_a_value(value: Any, levels: int) -> None:
    assert max(level for level, _ in text.walk(value)) == levels


def test_walk_of_a_very_deep_value_does_not_recurse() -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]

    assert max(level for level, _ in text.walk(value)) == 100_000


def test_walk_yields_keys_and_values_with_their_levels() -> None:
    assert list(text.walk({"a": "b"}))[1:] in ([(1, "a"), (1, "b")], [(1, "b"), (1, "a")])
