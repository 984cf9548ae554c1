"""The cache of tokens keeps so many of them, for so long."""

import pytest

from snapmanage.api.access.tokens import MOST_TOKENS, TokenCache
from snapmanage.testing.waiting import until


def test_token_beyond_a_thousand_replaces_the_one_that_was_used_least_recently() -> None:
    tokens = TokenCache(seconds=300)
    for number in range(MOST_TOKENS):
        tokens.set(str(number), b"valid")
    tokens.get("0")

    tokens.set("another", b"valid")

    assert len(tokens) == MOST_TOKENS == 1000
    assert [tokens.get(key) for key in ("0", "1", "another")] == [b"valid", None, b"valid"]


@pytest.mark.parametrize("kept", [b"valid", b""])
def test_token_is_forgotten_after_its_time(kept: bytes) -> None:
    tokens = TokenCache(seconds=0.01)

    tokens.set("token", kept)

    until(lambda: tokens.get("token") is None, "the token to be forgotten")
