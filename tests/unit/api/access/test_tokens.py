"""The cache of tokens keeps so many of them, for so long; few tokens are validated at the same time."""

from contextlib import ExitStack

import pytest

from snapmanage import errors
from snapmanage.api.access.tokens import MOST_TOKENS, TokenCache, Validations
from snapmanage.testing.waiting import until

CLIENT = "192.0.2.1"


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
    with validations.admitted(CLIENT, "accepted"):
        pass

    with validations.admitted(CLIENT, "slow"):
        with pytest.raises(errors.TooManyRequests, match="try again"), validations.admitted(CLIENT, "other"):
            pass
        with validations.admitted(CLIENT, "accepted"):
            pass


def test_refused_token_frees_its_place_and_is_not_remembered() -> None:
    validations = Validations(places=1, seconds=300)
    with pytest.raises(errors.NotAuthenticated), validations.admitted(CLIENT, "invented"):
        raise errors.NotAuthenticated("challenge")

    with (
        validations.admitted(CLIENT, "slow"),
        pytest.raises(errors.TooManyRequests),
        validations.admitted(CLIENT, "invented"),
    ):
        pass


def refuse(validations: Validations, client: str) -> None:
    """Let a client send a token that Keystone refuses."""
    with pytest.raises(errors.NotAuthenticated), validations.admitted(client, "invented"):
        raise errors.NotAuthenticated("challenge")


def is_admitted(validations: Validations, client: str) -> bool:
    """Return whether a new token of a client would be validated now."""
    try:
        with validations.admitted(client, "new"):
            return True
    except errors.TooManyRequests:
        return False


def places_taken(validations: Validations, clients: list[str], held: ExitStack) -> int:
    """Let each client in turn validate a further token, until one is refused; return the number of tokens."""
    taken = 0
    while True:
        try:
            held.enter_context(validations.admitted(clients[taken % len(clients)], f"token {taken}"))
        except errors.TooManyRequests:
            return taken
        taken += 1


def test_client_leaves_a_quarter_of_the_places_to_others() -> None:
    validations = Validations(places=12, seconds=300)
    with ExitStack() as held:
        assert places_taken(validations, [CLIENT], held) == 9

        for other in ("192.0.2.2", "192.0.2.3", "192.0.2.4"):
            held.enter_context(validations.admitted(other, other))


def test_clients_with_a_refused_token_leave_a_quarter_of_the_places_to_others() -> None:
    validations = Validations(places=12, seconds=300)
    inventive = [f"198.51.100.{number}" for number in range(12)]
    for client in inventive:
        refuse(validations, client)

    with ExitStack() as held:
        assert places_taken(validations, inventive, held) == 9

        with validations.admitted(CLIENT, "from a client without refused tokens"):
            pass


def test_refused_token_is_forgotten_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snapmanage.api.access.tokens.REFUSED_SECONDS", 0.01)
    validations = Validations(places=2, seconds=300)
    refuse(validations, CLIENT)

    with validations.admitted("192.0.2.2", "slow"):
        until(lambda: is_admitted(validations, CLIENT), "the refused token to be forgotten")


@pytest.mark.parametrize("places", [1, 2])
def test_client_with_a_refused_token_is_admitted_while_no_other_validates(places: int) -> None:
    validations = Validations(places, seconds=300)
    refuse(validations, CLIENT)

    with validations.admitted(CLIENT, "new"):
        pass
