"""The memory of requests that arrive slowly or wait for a thread has a bound, and small requests are safe from it."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from snapmanage.api.serving import acceptor
from snapmanage.api.serving.acceptor import MOST_HELD, OTHER_FILES
from snapmanage.api.serving.parser import LARGEST_HEAD
from snapmanage.api.serving.server import HttpServer
from snapmanage.testing.waiting import until
from tests.functional.api.serving.applications import UNREAD_BYTES, Held
from tests.functional.api.serving.programs import running_api
from tests.functional.api.serving.raw import (
    RawAnswer,
    allow_files,
    check_health,
    connected,
    held,
    request,
    rest_of,
    sent,
)

LARGEST_BODY = 114_688  # [api] max_request_body_size
FLOOD = 1000
FILES = FLOOD + OTHER_FILES + 100  # enough for a connection of each client
WARNING = "Requests that arrive or wait need too much memory"
OTHER_CLIENT = "127.0.0.2"


def check(body_bytes: int, head_bytes: int = 100) -> bytes:
    """Return a health check with a body, and with a head of about so many bytes."""
    return request("GET /healthcheck", f"Content-Length: {body_bytes}", f"X: {'x' * head_bytes}", body="x" * body_bytes)


LARGEST = check(LARGEST_BODY, LARGEST_HEAD - 200)


@contextmanager
def flooded(application: Held, *first: bytes) -> Iterator[tuple[list[socket.socket], list[socket.socket]]]:
    """Send requests to a server with one thread, then too many large ones; give the clients of both.

    The first request runs until all have arrived, and some are refused.
    """
    count = MOST_HELD // LARGEST_BODY + 1
    allow_files(2 * count + OTHER_FILES)
    with ExitStack() as stack:
        server = stack.enter_context(HttpServer("127.0.0.1", 0, threads=1))
        stack.callback(application.release.set)
        server.start(application, LARGEST_BODY)
        clients = [stack.enter_context(connected(server.address)) for _ in range(len(first) + count)]
        for client, data in zip(clients, first, strict=False):
            client.sendall(data)
            assert application.running.wait(20)
        await_loop(server.address)
        for client in clients[len(first) :]:
            client.sendall(check(LARGEST_BODY))
        yield clients[: len(first)], clients[len(first) :]


def await_loop(address: str) -> None:
    """Wait until the loop of the server has handled the events before this request.

    With `checks_at_each_event` it then knows the phases of all connections.
    """
    assert RawAnswer.of(sent(address, b"no request\r\n\r\n")).status == 400


@pytest.fixture
def checks_at_each_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server look at the phases of all connections at each event, not four times a second."""
    monkeypatch.setattr(acceptor, "CHECK_SECONDS", 0)


@contextmanager
def from_other_client(address: str) -> Iterator[socket.socket]:
    """Connect from another address of the loopback."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20, source_address=(OTHER_CLIENT, 0)) as connection:
        yield connection


def test_flood_of_slow_requests_takes_bounded_memory_and_no_other_request(tmp_path: Path) -> None:
    assert FLOOD * len(LARGEST) > 2.5 * MOST_HELD
    allow_files(FILES)
    with running_api(tmp_path, files=FILES) as api:
        check_health(api.address)
        before = api.peak_bytes

        with held(api.address, FLOOD, LARGEST[:-1]):
            small = RawAnswer.of(sent(api.address, check(1000)))
            with from_other_client(api.address) as client:
                client.sendall(LARGEST)
                large = RawAnswer.of(rest_of(client))

        assert (small.status, large.status) == (200, 200)
        assert api.peak_bytes - before < 2 * MOST_HELD
        assert api.log.count(WARNING) == 1
        assert "Traceback" not in api.log


def test_large_requests_that_wait_for_a_thread_are_refused_beyond_the_bound(caplog: pytest.LogCaptureFixture) -> None:
    application = Held()
    with flooded(application, check(1), check(1000)) as (small, flood):
        until(lambda: WARNING in caplog.text, "a refusal")
        application.release.set()

        assert [RawAnswer.of(rest_of(client)).body for client in small] == [b"1", b"1000"]
        answers = [RawAnswer.of(rest_of(client)) for client in flood]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]  # no request is handled twice
    refused = [each for each in answers if each.status == 503]
    assert 0 < len(refused) < len(flood) / 4
    assert {each.body for each in answers} - {each.body for each in refused} == {b"%d" % LARGEST_BODY}
    assert {each.headers["retry-after"] for each in refused} == {"5"}
    assert "repeat this one later" in json.loads(refused[0].body)["serviceUnavailable"]["message"]


def test_flood_cuts_no_answer_that_a_thread_writes(
    checks_at_each_event: None, caplog: pytest.LogCaptureFixture
) -> None:
    application = Held(UNREAD_BYTES)
    with flooded(application, check(LARGEST_BODY)) as ([client], _):
        until(lambda: WARNING in caplog.text, "a refusal")
        application.release.set()

        assert len(RawAnswer.of(rest_of(client)).body) == UNREAD_BYTES + len(str(LARGEST_BODY))
