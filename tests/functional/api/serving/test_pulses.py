"""The pulses of the HTTP server show a hung loop, and requests that no thread takes."""

import threading

import pytest

from snapmanage.api.serving.acceptor import Acceptor
from snapmanage.api.serving.server import HttpServer
from snapmanage.testing.waiting import until
from tests.functional.api.serving.applications import plain


def hung(server: HttpServer) -> set[str]:
    return {pulse.name for pulse in server.pulses() if pulse.problem(0.5)}


def test_loop_of_the_connections_that_hangs_has_a_hung_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    with HttpServer("127.0.0.1", 0, threads=1) as server:
        server.start(plain, 1000)
        with monkeypatch.context() as patch:
            patch.setattr(Acceptor, "handle_events", lambda acceptor, *arguments: release.wait(20))

            until(lambda: hung(server) == {"http"}, "the loop to be hung")
        release.set()

        until(lambda: hung(server) == set(), "the loop to continue")
