"""The end of the server: requests that have arrived are answered, other connections are closed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from waitress.server import TcpWSGIServer

from snapmanage.api.serving import server as server_module
from snapmanage.api.serving.acceptor import CHECK_SECONDS
from snapmanage.api.serving.server import HttpServer
from snapmanage.testing.waiting import until
from tests.functional.api.serving.applications import plain
from tests.functional.api.serving.pauses import paused
from tests.functional.api.serving.raw import RawAnswer, connected, rest_of

ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@contextmanager
def stopping(server: HttpServer) -> Iterator[None]:
    """Stop a server meanwhile."""
    thread = threading.Thread(target=server.stop)
    thread.start()
    yield
    thread.join()


def answering_after(release: threading.Event, running: threading.Event) -> Any:
    """Return an application that sets `running`, and answers when `release` is set."""

    def slow(environ: Any, start_response: Any) -> list[bytes]:
        running.set()
        release.wait(20)
        return plain(environ, start_response)

    return slow


def test_running_request_is_answered_and_its_connection_closed(release: threading.Event) -> None:
    running = threading.Event()

    with HttpServer("127.0.0.1", 0, threads=1) as server:
        server.start(answering_after(release, running), 100)
        with connected(server.address) as client:
            client.sendall(ASK)
            assert running.wait(20)
            with stopping(server):
                until(lambda: refuses_connections(server.address), "the port to be closed")
                release.set()

            assert RawAnswer.of(rest_of(client)).status == 200


def test_waiting_request_is_answered_with_the_end_of_its_connection(release: threading.Event) -> None:
    running = threading.Event()

    with HttpServer("127.0.0.1", 0, threads=1) as server:
        server.start(answering_after(release, running), 100)
        with connected(server.address) as first, connected(server.address) as second:
            first.sendall(ASK)
            assert running.wait(20)
            second.sendall(ASK)
            with stopping(server):
                until(lambda: refuses_connections(server.address), "the port to be closed")
                release.set()

            assert RawAnswer.of(rest_of(second)).headers["connection"] == "close"


def test_client_that_is_not_yet_accepted_is_answered() -> None:
    with HttpServer("127.0.0.1", 0, threads=1) as server:
        server.start(plain, 100)
        with paused(server.address) as end_pause, connected(server.address) as client:
            client.sendall(ASK)
            with stopping(server):
                end_pause.set()

            assert RawAnswer.of(rest_of(client)).status == 200


def test_request_that_runs_beyond_the_time_for_the_end_is_abandoned(
    release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "SHUTDOWN_SECONDS", 0.2)
    running = threading.Event()

    def hung(environ: Any, start_response: Any) -> list[bytes]:
        running.set()
        release.wait(60)
        return plain(environ, start_response)

    with HttpServer("127.0.0.1", 0, threads=1) as server, connected(server.address) as client:
        server.start(hung, 100)
        client.sendall(ASK)
        assert running.wait(20)

        server.stop()

        assert rest_of(client) == b""
        assert not release.is_set()


def test_idle_and_silent_connections_do_not_delay_the_end() -> None:
    with HttpServer("127.0.0.1", 0, threads=1) as server:
        server.start(plain, 100)
        with connected(server.address) as idle, connected(server.address) as silent:
            idle.sendall(ASK)
            until(lambda: idle.recv(4096).endswith(b"0"), "the answer")

            server.stop()

            assert rest_of(idle) == rest_of(silent) == b""


def test_server_stops_before_its_start_and_twice() -> None:
    server = HttpServer("127.0.0.1", 0, threads=1)

    server.stop()
    server.stop()

    assert refuses_connections(server.address)


def refuses_connections(address: str) -> bool:
    try:
        with connected(address):
            return False
    except ConnectionError:
        return True


def test_slow_thread_that_stops_the_server_wakes_it_before_it_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    wake = TcpWSGIServer.pull_trigger

    def wake_late(acceptor: TcpWSGIServer) -> None:
        threading.Event().wait(4 * CHECK_SECONDS)  # meanwhile the server sees by itself that it must stop
        wake(acceptor)

    with HttpServer("127.0.0.1", 0, threads=1) as server:
        server.start(plain, 100)
        monkeypatch.setattr(TcpWSGIServer, "pull_trigger", wake_late)

        server.stop()

    assert refuses_connections(server.address)
