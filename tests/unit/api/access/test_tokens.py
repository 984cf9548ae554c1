"""The cache of tokens keeps so many of them, for so long."""

import pytest

from snapmanage import errors
from snapmanage.api.access.tokens import MOST_TOKENS, TokenCache, Validations
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


def test_empty_cache_is_a_cache_for_keystonemiddleware() -> None:
    assert TokenCache(seconds=300)


def test_token_beyond_the_places_is_refused_unless_it_was_accepted_lately() -> None:
    validations = Validations(places=1, seconds=300)
    with validations.admitted("accepted"):
        pass

    with validations.admitted("slow"):
        with pytest.raises(errors.TooManyRequests, match="try again"), validations.admitted("other"):
            pass
        with validations.admitted("accepted"):
            pass


def test_refused_token_frees_its_place_and_is_not_remembered() -> None:
    validations = Validations(places=1, seconds=300)
    with pytest.raises(errors.NotAuthenticated), validations.admitted("invented"):
        raise errors.NotAuthenticated("challenge")

    with (
        validations.admitted("slow"),
        pytest.raises(errors.TooManyRequests),
        validations.admitted("invented"),
    ):
        pass
