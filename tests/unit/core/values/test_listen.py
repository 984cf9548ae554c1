"""Addresses on which a process listens."""

import pytest

from snapmanage import errors
from snapmanage.core.values import listen


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8776", ("127.0.0.1", 8776)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:65535", ("::1", 65535)),
        ("0.0.0.0:09000", ("0.0.0.0", 9000)),
    ],
)
def test_host_and_port_are_parsed(text: str, address: tuple[str, int]) -> None:
    assert listen.parse_listen(text) == address


@pytest.mark.parametrize(
    "text", ["", ":", "9000", ":9000", "127.0.0.1", "127.0.0.1:", "h:http", "h:-1", "h:65536", "h:²", "h:" + "9" * 5000]
)
def test_other_text_is_refused_with_the_name_of_the_option(text: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"^\[metrics\] listen must be HOST:PORT"):
        listen.parse_listen(text, "[metrics] listen")


def test_refused_text_is_escaped() -> None:
    with pytest.raises(errors.ConfigurationError, match=r"not '\\x1b\[2J'"):
        listen.parse_listen("\x1b[2J")


@pytest.mark.parametrize("text", ["127.0.0.1:1", "[::1]:1"])
def test_joined_address_is_parsed_again(text: str) -> None:
    assert listen.join_listen(*listen.parse_listen(text)) == text


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)]
    + [(host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "")],
)
def test_loopback_is_reached_from_this_machine_only(host: str, loopback: bool) -> None:
    assert listen.is_loopback(host) is loopback
