"""Texts and JSON from outside."""

from typing import Any

import pytest
from hypothesis import example, given, strategies

from snapmanage.core.values import text

# Every character of Unicode, lone surrogates and unassigned ones included.
ANY_TEXT = strategies.text(strategies.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("original", "escaped"),
    [
        (
            "gone: \N{CAMERA} \N{LATIN SMALL LETTER E WITH ACUTE}",
            "gone: \N{CAMERA} \N{LATIN SMALL LETTER E WITH ACUTE}",
        ),
        ("a\0b\nc\rd\te\x1b[2Jf\x7fg", r"a\x00b\nc\rd\te\x1b[2Jf\x7fg"),
        ("C1 \x85 and \x9b", r"C1 \x85 and \x9b"),
        ("bidi \u061c\u200e\u200f\u202a\u202e\u2066\u2069", r"bidi \u061c\u200e\u200f\u202a\u202e\u2066\u2069"),
        ("lines \u2028\u2029 and blanks \xa0\u3000", r"lines \u2028\u2029 and blanks \xa0\u3000"),
        ("half a pair \ud83d", r"half a pair \ud83d"),
        ("no characters \ufffe\U000e0001\ue000", r"no characters \ufffe\U000e0001\ue000"),
        (r"a backslash \ and \n", r"a backslash \ and \n"),
    ],
)
def test_characters_that_are_not_printable_are_escaped(original: str, escaped: str) -> None:
    assert text.printable(original) == escaped


@given(ANY_TEXT)
@example("\u202e")
def test_escaped_text_is_printable_and_stays_as_it_is_when_escaped_again(original: str) -> None:
    escaped = text.printable(original)

    assert escaped.isprintable()
    assert text.printable(escaped) == escaped


@given(ANY_TEXT)
@example("x" * 2001)
@example("\x1b" * 2001)
def test_readable_text_is_printable_and_short_and_every_database_stores_it(original: str) -> None:
    kept = text.readable(original)

    assert kept.isprintable()
    assert text.storable(kept)
    assert len(kept) <= 2001
    assert kept.endswith("…") or kept == text.printable(original)


@pytest.mark.parametrize(
    ("original", "kept"),
    [
        ("\x1b[2J\n\u202e stay", "\x1b[2J\n\u202e stay"),
        ("NUL \0 and half a pair \ud83d", "NUL \\x00 and half a pair \\ud83d"),
        ("x" * 2000, "x" * 2000),
        ("x" * 2001, "x" * 2000 + "…"),
    ],
)
def test_data_keeps_every_character_that_databases_store(original: str, kept: str) -> None:
    assert text.as_storable(original) == kept
    assert text.storable(kept)


@pytest.mark.parametrize(("original", "storable"), [("\N{CAMERA}", True), ("a\0b", False), ("\ud83d", False)])
def test_text_with_nul_or_half_a_surrogate_pair_is_not_storable(original: str, storable: bool) -> None:
    assert text.storable(original) is storable


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


def test_number_has_its_noun_in_the_singular_or_the_plural() -> None:
    assert [text.numbered(count, "volume") for count in (0, 1, 2)] == ["0 volumes", "1 volume", "2 volumes"]
    assert [text.numbered(count, "entry", "entries") for count in (1, 2)] == ["1 entry", "2 entries"]
