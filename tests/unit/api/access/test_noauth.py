"""The strategy `noauth`: it serves programs on its own machine, but no page of another site and no proxy."""

import falcon
import pytest
from falcon import testing

from snapmanage import errors
from snapmanage.api.access.noauth import NoAuth
from snapmanage.api.app import AnswerHeaders

PROJECT = "0123456789abcdef0123456789abcdef"
HOST = "127.0.0.1:8776"
PAGE = "https://dashboard.example"


def request_with(address: str | None = "127.0.0.1", method: str = "GET", **headers: str) -> falcon.Request:
    """Return a request; `headers` are named as in a WSGI environment."""
    environ = testing.create_environ(method=method) | {"HTTP_HOST": HOST} | headers
    environ["REMOTE_ADDR"] = address
    request = falcon.Request(environ)
    AnswerHeaders().process_request(request, falcon.Response())
    return request


def refusal(request: falcon.Request, strategy: NoAuth = NoAuth()) -> str:  # noqa: B008 - frozen
    with pytest.raises(errors.NotPermitted) as refused:
        strategy(request, PROJECT)
    return str(refused.value)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_caller_on_the_same_machine_is_an_administrator(address: str) -> None:
    assert NoAuth()(request_with(address), PROJECT).roles == ("admin",)


@pytest.mark.parametrize(
    "address",
    ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "unknown", "127.0.0.1, 192.0.2.1", "localhost", "", None],
)
def test_caller_elsewhere_or_on_a_unix_socket_is_served_only_with_noauth_anywhere(address: str | None) -> None:
    request = request_with(address)

    assert "set [api] noauth_anywhere" in refusal(request)
    assert NoAuth(anywhere=True)(request, PROJECT).roles == ("admin",)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8776", "127.0.0.1", "127.0.0.1:9000", "127.0.0.5:1", "[::1]", "[::1]:8776"]
)
def test_host_header_may_name_this_machine_with_any_port(host: str) -> None:
    assert NoAuth()(request_with(HTTP_HOST=host), PROJECT).roles == ("admin",)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8776",
        "localhost.evil.example",
        "127.0.0.1.evil.example:8776",
        "127.1:8776",
        "0.0.0.0:8776",
        "192.0.2.1",
        "[2001:db8::1]:8776",
        "localhost:",
        "",
    ],
)
def test_request_for_another_host_is_refused(host: str) -> None:
    request = request_with(HTTP_HOST=host)

    assert "the header Host must be localhost or a loopback address" in refusal(request)
    assert NoAuth(anywhere=True)(request, PROJECT).roles == ("admin",)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example:8776",
        "http://127.0.0.1:3000",
        "http://localhost:8776",
        "https://127.0.0.1:8776",
        "http://127.0.0.1",
        "null",
        "",
    ],
)
def test_page_of_another_origin_is_refused_on_any_method(origin: str, method: str) -> None:
    request = request_with(method=method, HTTP_ORIGIN=origin)

    assert "Name the page's origin in [cors] allowed_origin" in refusal(request)
    assert NoAuth(anywhere=True)(request, PROJECT).roles == ("admin",)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "other"])
def test_page_of_another_site_is_refused_without_an_origin_too(site: str) -> None:
    assert "[cors] allowed_origin" in refusal(request_with(HTTP_SEC_FETCH_SITE=site))


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (HOST, "http://127.0.0.1:8776"),
        ("LOCALHOST:8776", "http://localhost:8776"),
        ("localhost", "http://localhost:80"),
        ("[::1]:8776", "http://[::1]:8776"),
    ],
)
def test_page_of_the_same_origin_is_served(host: str, origin: str) -> None:
    request = request_with(HTTP_HOST=host, HTTP_ORIGIN=origin, HTTP_SEC_FETCH_SITE="same-origin")

    assert NoAuth()(request, PROJECT).roles == ("admin",)


def test_page_of_an_allowed_origin_is_served() -> None:
    strategy = NoAuth(origins=frozenset({PAGE}))

    assert strategy(request_with(HTTP_ORIGIN=PAGE, HTTP_SEC_FETCH_SITE="cross-site"), PROJECT).roles == ("admin",)
    assert "[cors]" in refusal(request_with(HTTP_ORIGIN="https://evil.example"), strategy)


def test_any_allowed_origin_lets_no_page_in() -> None:
    assert "[cors]" in refusal(request_with(HTTP_ORIGIN=PAGE), NoAuth(origins=frozenset({"*"})))


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("HTTP_FORWARDED", "for=127.0.0.1"),
        ("HTTP_VIA", "1.1 proxy"),
        ("HTTP_X_FORWARDED_FOR", "127.0.0.1"),
        ("HTTP_X_FORWARDED_HOST", "localhost"),
        ("HTTP_X_FORWARDED_PROTO", ""),
        ("HTTP_X_REAL_IP", "127.0.0.1"),
    ],
)
def test_forwarded_request_is_refused(header: str, value: str) -> None:
    request = request_with(**{header: value})

    assert "a proxy has forwarded" in refusal(request)
    assert NoAuth(anywhere=True)(request, PROJECT).roles == ("admin",)


def test_token_names_user_and_project() -> None:
    requester = NoAuth()(request_with(HTTP_X_AUTH_TOKEN=f"ann:{PROJECT}"), PROJECT).requester

    assert (requester.user_id, requester.project_id) == ("ann", PROJECT)
