"""The form of a refusal."""

import pytest
from hypothesis import example, given, strategies

from snapmanage.api.answers import faults


@given(strategies.text(strategies.characters(exclude_categories=())))
@example("host 'a\n\x1b[2J\u202e' is unknown")
@example("\x1b" * 1001)
def test_text_of_a_refusal_is_printable_and_short(original: str) -> None:
    message = faults.fault(400, original)["badRequest"]["message"]

    assert message.isprintable()
    assert len(message) <= 1001


@pytest.mark.parametrize(("length", "message"), [(1000, "x" * 1000), (1001, "x" * 1000 + "…")])
def test_text_of_a_refusal_is_cut_after_a_thousand_characters(length: int, message: str) -> None:
    assert faults.fault(400, "x" * length)["badRequest"]["message"] == message
