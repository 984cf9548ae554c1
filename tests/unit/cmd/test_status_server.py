"""The small HTTP server for operators: pages, refusals, and clients that are slow or many."""

import http.client
import logging
import socket
from collections.abc import Iterator

import pytest

from snapmanage import errors
from snapmanage.cmd.process import status_server
from snapmanage.cmd.process.status_server import Answer, StatusServer
from snapmanage.core.values.listen import parse_listen
from snapmanage.testing import waiting


def broken() -> Answer:
    raise OSError("the disk is full")


PAGES = {"/livez": lambda: Answer.text(200, "ok"), "/readyz": lambda: Answer.text(503, "no database"), "/bad": broken}


@pytest.fixture
def server() -> Iterator[StatusServer]:
    with StatusServer("127.0.0.1", 0, PAGES) as started:
        yield started


def ask(server: StatusServer, path: str, method: str = "GET", body: bytes | None = None) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(server.address, timeout=20)
    connection.request(method, path, body)
    return connection.getresponse()


def send(server: StatusServer, text: bytes) -> socket.socket:
    connection = socket.create_connection(parse_listen(server.address), timeout=20)
    connection.sendall(text)
    return connection


def read(connection: socket.socket) -> bytes:
    """Return everything that the server sends until it closes the connection."""
    with connection, connection.makefile("rb") as file:
        return file.read()


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/livez", 200, b"ok\n"),
        ("/livez?verbose=1", 200, b"ok\n"),
        ("/readyz", 503, b"no database\n"),
        ("/", 404, b"no such page; the pages are /bad, /livez, /readyz\n"),
        ("/livez/", 404, b"no such page; the pages are /bad, /livez, /readyz\n"),
    ],
)
def test_page_is_answered_by_its_function(server: StatusServer, path: str, status: int, body: bytes) -> None:
    answer = ask(server, path)

    assert (answer.status, answer.read()) == (status, body)
    assert answer.getheader("Content-Type") == "text/plain; charset=utf-8"
    assert answer.getheader("Cache-Control") == "no-store"
    assert answer.getheader("Server") == "snapmanage"


def test_head_has_the_headers_of_the_page_and_no_body(server: StatusServer) -> None:
    answer = ask(server, "/livez", "HEAD")

    assert (answer.status, answer.getheader("Content-Length"), answer.read()) == (200, "3", b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_refused(server: StatusServer, method: str) -> None:
    answer = ask(server, "/livez", method)

    assert (answer.status, answer.getheader("Allow")) == (405, "GET, HEAD")
    assert answer.read() == b"only GET and HEAD are allowed\n"


def test_body_of_a_request_is_not_awaited(server: StatusServer) -> None:
    connection = send(server, b"GET /livez HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n")

    assert read(connection).endswith(b"\r\n\r\nok\n")


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"GET\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02 / \x00\r\n\r\n", b"400"),
        (b"GET /livez HTTP/9.9\r\n\r\n", b"505"),
        (b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"431"),
    ],
)
def test_malformed_request_is_refused_in_plain_text(server: StatusServer, request_text: bytes, status: bytes) -> None:
    with send(server, request_text) as connection:
        text = connection.recv(1000)

    assert text.startswith(b"HTTP/1.0 " + status)
    assert b"<" not in text


def test_page_that_fails_is_answered_with_500_and_logged(
    server: StatusServer, caplog: pytest.LogCaptureFixture
) -> None:
    answer = ask(server, "/bad?a=1")

    assert (answer.status, answer.read()) == (500, b"the page failed; the log of the process has the reason\n")
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "the disk is full" in caplog.text
    assert record.getMessage().startswith("The page /bad?a=1 failed")


def test_connections_above_the_bound_are_closed_at_once(server: StatusServer) -> None:
    idle = [send(server, b"GET /li") for _ in range(status_server.MOST_CONNECTIONS)]

    def refused() -> bool:
        """Return whether one more connection is closed without an answer; an earlier one may not be accepted yet."""
        try:
            return read(send(server, b"GET /livez HTTP/1.1\r\n\r\n")) == b""
        except ConnectionError:
            return True

    waiting.until(refused, "the end of a connection above the bound")
    for connection in idle:
        connection.sendall(b"vez HTTP/1.1\r\n\r\n")
    assert all(b"\r\n\r\nok\n" in read(connection) for connection in idle)
    assert waiting.until(lambda: ask(server, "/livez").status == 200, "room for a connection")


def test_connection_that_sends_its_request_too_slowly_is_closed() -> None:
    with StatusServer("127.0.0.1", 0, PAGES, connection_seconds=0.2) as server:
        connection = send(server, b"GET /livez HTTP/1.1\r\n")

        assert read(connection) == b""


def test_taken_port_is_a_configuration_error(server: StatusServer) -> None:
    host, port = parse_listen(server.address)

    with pytest.raises(errors.ConfigurationError, match=rf"can't listen on 127.0.0.1:{port}: "):
        StatusServer(host, port, PAGES)


def test_unknown_host_is_a_configuration_error() -> None:
    with pytest.raises(errors.ConfigurationError, match=r"can't listen on no\.such\.host\.invalid:9000"):
        StatusServer("no.such.host.invalid", 9000, PAGES)


def test_stopped_server_has_freed_its_port() -> None:
    first = StatusServer("127.0.0.1", 0, PAGES)
    first.start()
    first.stop()
    first.stop()

    StatusServer(*parse_listen(first.address), PAGES).stop()


def test_server_listens_on_an_address_of_ipv6() -> None:
    with StatusServer("::1", 0, PAGES) as server:
        assert server.address.startswith("[::1]:")
        assert ask(server, "/livez").status == 200


def test_equal_addresses_share_a_server() -> None:
    free = StatusServer("127.0.0.1", 0, {})
    free.stop()
    address = parse_listen(free.address)

    servers = status_server.bind(
        [(address, {"/livez": PAGES["/livez"]}), (address, {"/readyz": PAGES["/readyz"]}), (("127.0.0.1", 0), {})]
    )

    try:
        servers[0].start()
        assert [ask(servers[0], path).status for path in ("/livez", "/readyz")] == [200, 503]
        assert len(servers) == 2
    finally:
        for server in servers:
            server.stop()


def test_taken_port_among_several_frees_the_others(server: StatusServer) -> None:
    free = StatusServer("127.0.0.1", 0, {})
    free.stop()
    address = parse_listen(free.address)

    with pytest.raises(errors.ConfigurationError):
        status_server.bind([(address, {}), (parse_listen(server.address), {})])

    StatusServer(*address, {}).stop()
