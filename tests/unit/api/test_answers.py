"""The form of a refusal."""

from hypothesis import example, given, strategies

from snapmanage.api import answers


@given(strategies.text(strategies.characters(exclude_categories=())))
@example("host 'a\n\x1b[2J\u202e' is unknown")
@example("\x1b" * 1001)
def test_text_of_a_refusal_is_printable_and_short(original: str) -> None:
    message = answers.fault(400, original)["badRequest"]["message"]

    assert message.isprintable()
    assert len(message) <= 1001
