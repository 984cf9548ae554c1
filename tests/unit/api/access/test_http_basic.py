"""The strategy `http_basic`: reading an htpasswd file, and accepting or refusing credentials."""

import base64
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bcrypt
import falcon
import pytest
from falcon import testing
from oslo_middleware import basic_auth

from snapmanage import errors
from snapmanage.api.access import http_basic, log
from snapmanage.api.access.callers import Caller
from snapmanage.api.access.http_basic import HttpBasic
from snapmanage.api.access.password_checks import PasswordChecks
from snapmanage.api.app import AnswerHeaders

PROJECT = "0123456789abcdef0123456789abcdef"
PASSWORD = "correct horse"


class ManualClock:
    """A clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_line(user: str, password: str = PASSWORD, cost: int = 4) -> str:
    return f"{user}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()}\n"


def request_as(user: str, password: str = PASSWORD) -> falcon.Request:
    """Return a request with the credentials of that user."""
    return request_with("Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())


def request_with(header: str) -> falcon.Request:
    request = falcon.Request(testing.create_environ(headers={"Authorization": header} if header else {}))
    AnswerHeaders().process_request(request, falcon.Response())
    return request


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "htpasswd"
    made.write_text(make_line("ann") + make_line("bob", "other"))
    made.chmod(0o640)
    return made


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def strategy(file: Path, clock: ManualClock) -> HttpBasic:
    return make_strategy(file, clock)


def make_strategy(file: Path, clock: ManualClock | None = None) -> HttpBasic:
    """Return a strategy that accepts the cheapest hashes, and as many wrong passwords as a test sends."""
    checks = PasswordChecks(wrong_per_minute=1000, parallel=2, places=8)
    return HttpBasic(file, checks, clock or ManualClock(), lowest_cost=4)


def is_refused(strategy: HttpBasic, request: falcon.Request) -> bool:
    try:
        strategy(request, PROJECT)
    except errors.NotAuthenticated:
        return True
    return False


def test_user_of_the_file_is_an_administrator_of_the_project_in_the_path(strategy: HttpBasic) -> None:
    caller = strategy(request_as("ann"), PROJECT)

    assert caller.requester.user_id == "ann"
    assert caller.requester.project_id == PROJECT
    assert caller == Caller(caller.requester, ("admin",), bound=True, user_name="ann")


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("ann", "other"),
        ("ann", ""),
        ("carl", PASSWORD),
        ("", PASSWORD),
        ("", ""),
        ("an", PASSWORD),
        ("ann\nroot", PASSWORD),
        ("ann", "x" * 73),
        ("ann", "nul\0"),
    ],
)
def test_wrong_user_or_password_is_not_authenticated(strategy: HttpBasic, user: str, password: str) -> None:
    assert is_refused(strategy, request_as(user, password))


@pytest.mark.parametrize(("user", "refused"), [("a" * 255, False), ("a" * 256, True), ("ann\0", True)])
def test_user_name_that_no_record_can_store_is_not_authenticated(file: Path, user: str, refused: bool) -> None:
    file.write_text(make_line(user))

    assert is_refused(make_strategy(file), request_as(user)) == refused


@pytest.mark.parametrize("header", ["", "Basic", "Bearer abc", "Digest username=x", "basicx abc"])
def test_missing_or_other_authorization_header_is_not_authenticated(strategy: HttpBasic, header: str) -> None:
    with pytest.raises(errors.NotAuthenticated) as refusal:
        strategy(request_with(header), PROJECT)

    assert refusal.value.challenge == 'Basic realm="snapmanage", charset="UTF-8"'


@pytest.mark.parametrize("header", ["Basic !", "Basic YQ", "Basic YW5u", "Basic /zr/", "Basic a b"])
def test_header_that_cannot_be_decoded_is_an_invalid_request(strategy: HttpBasic, header: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="base64 encoding of USER:PASSWORD"):
        strategy(request_with(header), PROJECT)


def test_every_byte_of_a_password_of_72_bytes_is_compared(file: Path) -> None:
    file.write_text(make_line("ann", "x" * 72))
    strategy = make_strategy(file)

    assert not is_refused(strategy, request_as("ann", "x" * 72))
    assert is_refused(strategy, request_as("ann", "x" * 71))
    assert is_refused(strategy, request_as("ann", "x" * 73))


def test_accepted_credentials_are_remembered_for_a_limited_time(
    strategy: HttpBasic, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy(request_as("ann"), PROJECT)
    monkeypatch.setattr(basic_auth, "auth_entry", fail_to_compare)

    clock.now += http_basic.REMEMBERED_SECONDS - 1
    strategy(request_as("ann"), PROJECT)
    with pytest.raises(RuntimeError):
        strategy(request_as("ann", "other"), PROJECT)
    with pytest.raises(RuntimeError):
        strategy(request_as("bob"), PROJECT)
    clock.now += 1
    with pytest.raises(RuntimeError):
        strategy(request_as("ann"), PROJECT)


def test_refused_credentials_are_not_remembered(strategy: HttpBasic, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_refused(strategy, request_as("ann", "wrong"))
    monkeypatch.setattr(basic_auth, "auth_entry", fail_to_compare)

    with pytest.raises(RuntimeError):
        strategy(request_as("ann", "wrong"), PROJECT)


def test_password_of_an_unknown_user_is_hashed_too(strategy: HttpBasic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basic_auth, "auth_entry", fail_to_compare)

    with pytest.raises(RuntimeError):
        strategy(request_as("nobody"), PROJECT)


@pytest.mark.parametrize("user", ["ann", "bob", "carl", "a stranger"])
def test_each_refused_check_costs_as_much_as_the_slowest_hash(
    file: Path, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(make_line("ann", cost=4) + make_line("bob", cost=6) + make_line("carl", cost=5))
    strategy = make_strategy(file)
    spent: list[int] = []
    check = bcrypt.checkpw

    def counting(password: bytes, hashed: bytes) -> bool:
        spent.append(2 ** int(hashed.split(b"$")[2]))
        return check(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", counting)

    assert is_refused(strategy, request_as(user, "wrong"))
    assert sum(spent) == 2**6


def test_name_of_an_unknown_user_is_not_logged(strategy: HttpBasic, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")

    assert is_refused(strategy, request_as("a password in the wrong field", ""))

    assert "Password for an unknown user does not match" in caplog.text
    assert "wrong field" not in caplog.text


@pytest.mark.parametrize(("user", "notes"), [("ann", {"claimed": "ann"}), ("a password in the wrong field", None)])
def test_access_log_names_only_a_known_user(strategy: HttpBasic, user: str, notes: dict[str, str] | None) -> None:
    request = request_as(user, "wrong")

    assert is_refused(strategy, request)

    assert request.env.get(log.NOTES) == notes


def test_memory_is_bounded_and_forgets_the_oldest() -> None:
    memory = http_basic.Memory(ManualClock())

    for number in range(http_basic.MOST_REMEMBERED + 1):
        memory.keep(number)

    assert [memory.holds(number) for number in (0, 1, http_basic.MOST_REMEMBERED)] == [False, True, True]
    assert len(memory) == http_basic.MOST_REMEMBERED


def test_memory_is_bounded_for_several_threads_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_basic, "MOST_REMEMBERED", 1)
    memory = http_basic.Memory(ManualClock())
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(memory.keep, range(5000)))
    finally:
        sys.setswitchinterval(interval)

    assert len(memory) == 1


def test_memory_contains_no_password() -> None:
    memory = http_basic.Memory(ManualClock())

    memory.keep("ann", b"secret")

    assert b"secret" not in repr(vars(memory)).encode()


def test_changed_file_is_read_at_once(strategy: HttpBasic, file: Path) -> None:
    strategy(request_as("ann"), PROJECT)
    replacement = file.with_name("new")
    replacement.write_text(make_line("ann", "changed") + make_line("bob", "other"))

    replacement.rename(file)

    assert is_refused(strategy, request_as("ann"))
    assert not is_refused(strategy, request_as("ann", "changed"))


def test_every_request_is_refused_while_the_file_is_missing(
    strategy: HttpBasic, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    strategy(request_as("ann"), PROJECT)
    aside = file.rename(file.with_name("aside"))

    with pytest.raises(errors.Unavailable):
        strategy(request_as("ann"), PROJECT)
    assert f"{file} can't be read" in caplog.text
    aside.rename(file)
    assert not is_refused(strategy, request_as("ann"))


def fail_to_compare(entry: str, password: bytes) -> None:
    raise RuntimeError("compared")
