"""The line of password checks: few at a time, in turn, and none for a client that guesses."""

import threading
import time
from contextlib import AbstractContextManager, ExitStack

import pytest

from snapmanage import errors
from snapmanage.api.access.callers import checks_at_once
from snapmanage.api.access.clients import client_of
from snapmanage.api.access.password_checks import PasswordChecks
from snapmanage.testing.waiting import until


class Checking:
    """A thread that waits for its turn, and then keeps it until it is released."""

    def __init__(self, checks: PasswordChecks, client: str) -> None:
        self.begun = threading.Event()
        self._released = threading.Event()
        self.refusals: list[errors.TooManyRequests] = []
        self._thread = threading.Thread(target=self._run, args=(checks, client), daemon=True)
        self._thread.start()

    def _run(self, checks: PasswordChecks, client: str) -> None:
        try:
            with checks.admitted(client):
                self.begun.set()
                self._released.wait(20)
        except errors.TooManyRequests as error:
            self.refusals.append(error)

    def release(self) -> None:
        self._released.set()

    def join(self) -> None:
        self._thread.join(20)


def release(*checking: Checking) -> None:
    """Let threads end their turns."""
    for each in checking:
        each.release()


def end(*checking: Checking) -> None:
    """Let threads end in any order, and wait for their ends."""
    release(*checking)
    for each in checking:
        each.join()


def refusal(admitted: AbstractContextManager[None]) -> errors.TooManyRequests:
    with pytest.raises(errors.TooManyRequests) as refused, admitted:
        pass
    return refused.value


def test_client_is_refused_after_too_many_wrong_passwords_and_others_are_not() -> None:
    checks = PasswordChecks(wrong_per_minute=2, parallel=1, places=4)
    for _ in range(2):
        with checks.admitted("192.0.2.1"):
            checks.add_wrong("192.0.2.1")

    refused = refusal(checks.admitted("192.0.2.1"))

    assert "Too many wrong passwords from this address" in str(refused)
    assert 1 <= refused.retry_after_seconds <= 60
    with checks.admitted("192.0.2.2"):
        pass


def test_right_passwords_are_not_limited() -> None:
    checks = PasswordChecks(wrong_per_minute=1, parallel=1, places=4)

    for _ in range(10):
        with checks.admitted("192.0.2.1"):
            pass


def test_checks_of_one_client_run_one_after_the_other_and_leave_slots_for_others() -> None:
    checks = PasswordChecks(wrong_per_minute=2, parallel=2, places=8)
    guesses = [Checking(checks, "guesser") for _ in range(4)]
    until(lambda: any(guess.begun.is_set() for guess in guesses), "the first guess to be checked")

    with checks.admitted("another"):
        begun = [guess.begun.is_set() for guess in guesses]

    assert sum(begun) == 1
    end(*guesses)


def test_guess_that_waited_is_refused_once_those_before_it_were_wrong() -> None:
    checks = PasswordChecks(wrong_per_minute=1, parallel=1, places=8)
    with ExitStack() as first:
        first.enter_context(checks.admitted("guesser"))
        second = Checking(checks, "guesser")
        checks.add_wrong("guesser")

    end(second)

    assert not second.begun.is_set()


def test_client_without_wrong_passwords_is_next() -> None:
    checks = PasswordChecks(wrong_per_minute=9, parallel=1, places=8)
    checks.add_wrong("guesser")
    with checks.admitted("third"):
        guess = Checking(checks, "guesser")
        other = Checking(checks, "another")
        until(lambda: checks.waiting == {"guesser", "another"}, "both clients to wait")

    until(other.begun.is_set, "the other client to be checked")

    assert not guess.begun.is_set()
    end(guess, other)


def test_guess_that_waited_is_behind_others_once_a_guess_before_it_was_wrong() -> None:
    checks = PasswordChecks(wrong_per_minute=9, parallel=1, places=8)
    with checks.admitted("guesser"):
        guess = Checking(checks, "guesser")
        until(lambda: checks.waiting == {"guesser"}, "the next guess to wait")
        other = Checking(checks, "another")
        until(lambda: checks.waiting == {"guesser", "another"}, "both clients to wait")
        checks.add_wrong("guesser")

    until(other.begun.is_set, "the other client to be checked")

    assert not guess.begun.is_set()
    end(guess, other)


def test_clients_with_wrong_passwords_leave_half_of_the_places() -> None:
    checks = PasswordChecks(wrong_per_minute=9, parallel=1, places=4)
    for client in ("a", "b", "c"):
        checks.add_wrong(client)

    guesses = [Checking(checks, client) for client in ("a", "b", "c")]

    until(lambda: any(guess.refusals for guess in guesses), "a guess beyond half of the places to be refused")
    other = Checking(checks, "another")
    release(*guesses)
    until(other.begun.is_set, "the other client to be checked")
    end(*guesses, other)


@pytest.mark.parametrize(("threads", "places"), [(1, 1), (2, 1), (4, 3), (16, 12)])
def test_line_has_three_quarters_of_the_threads(threads: int, places: int) -> None:
    assert checks_at_once(threads) == places


def test_client_beyond_the_last_place_is_refused() -> None:
    checks = PasswordChecks(wrong_per_minute=9, parallel=1, places=3)
    clients = [Checking(checks, client) for client in ("a", "b", "c")]
    until(lambda: sum(each.begun.is_set() for each in clients) + len(checks.waiting) == 3, "all places to be taken")

    refused = refusal(checks.admitted("another"))

    assert "Too many passwords are being checked" in str(refused)
    assert not any(each.refusals for each in clients)
    end(*clients)


def test_client_leaves_the_last_places_to_others() -> None:
    checks = PasswordChecks(wrong_per_minute=9, parallel=1, places=4)
    guesses = [Checking(checks, "guesser") for _ in range(3)]

    until(lambda: any(guess.refusals for guess in guesses), "a guess beyond the client's places to be refused")

    [busy] = [refused for guess in guesses for refused in guess.refusals]
    assert busy.retry_after_seconds == 1
    other = Checking(checks, "another")
    release(*guesses)
    until(other.begun.is_set, "the other client to be checked")
    end(*guesses, other)


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("[2001:db8:1:2::9]", "2001:db8:1:2::/64"),
        ('"[2001:db8:1:2::9]:4711"', "2001:db8:1:2::/64"),
        ("[192.0.2.1", ""),
        ("192.0.2.1, 192.0.2.2", ""),
        ("unknown", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_client_is_an_ipv4_address_or_an_ipv6_network(address: str | None, client: str) -> None:
    assert client_of(address) == client


def test_clients_are_forgotten_a_minute_after_their_last_wrong_password(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = PasswordChecks(wrong_per_minute=10, parallel=1, places=4)
    for number in range(100):
        checks.add_wrong(f"198.51.100.{number}")
    assert checks.guessing == 100
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)

    def forgotten() -> bool:
        checks.add_wrong("192.0.2.1")  # a thread of the library finds the expired ones a moment later
        return checks.guessing == 1

    until(forgotten, "the clients of the minute before to be forgotten")
