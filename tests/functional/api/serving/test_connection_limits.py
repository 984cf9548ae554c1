"""More connections than the process may have: the limit follows RLIMIT_NOFILE, and the log stays short."""

import logging
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from snapmanage.api.serving import acceptor
from snapmanage.api.serving.acceptor import connection_limit
from snapmanage.api.serving.server import BACKLOG, HttpServer
from snapmanage.testing.waiting import until
from tests.functional.api.serving.applications import UNREAD_BYTES, Held, plain
from tests.functional.api.serving.pauses import paused
from tests.functional.api.serving.programs import running_api
from tests.functional.api.serving.raw import HEALTH, RawAnswer, check_health, connected, held, is_closed, rest_of, sent

FEW_FILES = 128
WARNING = "Too many connections"


@pytest.fixture
def file_limit() -> Iterator[None]:
    """Restore the limit of open files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def allow(files: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> int:
    """Give servers a low limit of connections: this process also has the clients, and the files of other tests."""
    monkeypatch.setattr(acceptor, "connection_limit", lambda: 100)
    return 100


@pytest.mark.parametrize("workers", [1, 2])
def test_more_idle_clients_than_file_descriptors_lock_out_no_other_client(tmp_path: Path, workers: int) -> None:
    with running_api(tmp_path, workers, FEW_FILES) as api, held(api.address, workers * 140):
        for _ in range(10):
            check_health(api.address)

        assert 1 <= api.log.count(WARNING) <= workers
        assert "Traceback" not in api.log


def test_client_that_has_waited_longest_is_closed_at_the_limit(limit: int) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(HttpServer("127.0.0.1", 0, threads=1))
        server.start(plain, 100)
        clients = [stack.enter_context(connected(server.address)) for _ in range(limit)]
        clients[0].sendall(b"GET / HTTP/1.1\r\nHost:")
        clients[-1].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: clients[-1].recv(4096).endswith(b"0"), "the last connection to be served")
        assert not any(is_closed(client) for client in clients)

        assert RawAnswer.of(sent(server.address, HEALTH)).status == 200

        until(lambda: is_closed(clients[0]), "the oldest connection to be closed")
        assert not is_closed(clients[-1])


def test_new_clients_are_served_though_the_closed_ones_have_sent_bytes(limit: int) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(HttpServer("127.0.0.1", 0, threads=1))
        server.start(plain, 100)
        waiting = [stack.enter_context(connected(server.address)) for _ in range(limit - 1)]

        with paused(server.address):
            new = [stack.enter_context(connected(server.address)) for _ in range(10)]
            for client in waiting:
                client.sendall(b"G")
        until(lambda: is_closed(waiting[0]), "the oldest connection to be closed")
        for client in new:
            client.sendall(HEALTH)

        assert [RawAnswer.of(rest_of(client)).status for client in new] == [200] * 10


@pytest.mark.parametrize("early", [0, UNREAD_BYTES], ids=["before its answer", "in its answer"])
def test_running_request_is_not_closed_at_the_limit(limit: int, early: int) -> None:
    application = Held(early)
    with ExitStack() as stack:
        server = stack.enter_context(HttpServer("127.0.0.1", 0, threads=1))
        stack.callback(application.release.set)
        server.start(application, 100)
        first = stack.enter_context(connected(server.address))
        first.sendall(HEALTH)
        assert application.running.wait(20)
        later = [stack.enter_context(connected(server.address)) for _ in range(limit)]
        until(lambda: is_closed(later[0]), "a waiting connection to be closed")

        application.release.set()

        assert len(RawAnswer.of(rest_of(first)).body) == early + 1


def test_exhausted_file_descriptors_are_one_log_line_and_a_pause(
    file_limit: None, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(HttpServer("127.0.0.1", 0, threads=1))
        server.start(plain, 100)
        clients = [stack.enter_context(socket.socket()) for _ in range(20)]
        lowest_free = os.dup(0)
        os.close(lowest_free)
        allow(lowest_free)
        host, _, port = server.address.rpartition(":")
        for client in clients:
            client.connect((host, int(port)))
        until(lambda: [record for record in caplog.records if record.levelno >= logging.WARNING], "the log line")
        allow(1024)

        check_health(server.address)

        [line] = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert "No connection can be accepted" in line.getMessage()
        assert line.exc_info is None


def test_64_clients_that_connect_before_the_server_accepts_are_all_served() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(HttpServer("127.0.0.1", 0, threads=1))
        clients = [stack.enter_context(connected(server.address)) for _ in range(64)]
        for client in clients:
            client.sendall(HEALTH)

        server.start(plain, 100)

        assert {RawAnswer.of(rest_of(client)).status for client in clients} == {200}


def test_1024_clients_wait_to_be_connected_and_further_ones_are_not_answered() -> None:
    if int(Path("/proc/sys/net/core/somaxconn").read_text()) < BACKLOG:
        pytest.skip("the kernel's net.core.somaxconn is lower")
    with HttpServer("127.0.0.1", 0, threads=1) as server, held(server.address, BACKLOG):
        host, _, port = server.address.rpartition(":")

        refused = 0
        with ExitStack() as stack:
            for _ in range(3):  # the kernel admits one client more
                client = stack.enter_context(socket.socket())
                client.settimeout(0.3)
                refused += client.connect_ex((host, int(port))) != 0

        assert refused == 2


@pytest.mark.parametrize(("files", "limit"), [(128, 32), (512, 256), (1024, 768), (20000, 2000)])
def test_connection_limit_leaves_files_for_the_other_parts(file_limit: None, files: int, limit: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if files > hard:
        pytest.skip(f"the limit of open files is {hard}")
    allow(files)

    assert connection_limit() == limit
