"""The deadlines of head, body, answer and idle connections: each counts for the whole part, not for each byte."""

import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from snapmanage.api.serving.channels import Deadlines
from snapmanage.api.serving.server import HttpServer
from snapmanage.testing.slow_clients import dripping
from snapmanage.testing.waiting import until
from tests.functional.api.serving.applications import LARGE_BYTES, large, plain
from tests.functional.api.serving.raw import HEALTH, RawAnswer, connected, held, rest_of, sent

LONG = 1000.0
SHORT = 0.3
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
BODY = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n"
ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def serving(application: Any = plain, **short: float) -> Iterator[HttpServer]:
    """Serve with deadlines that are long, but for those that are named."""
    deadlines = replace(Deadlines(LONG, LONG, LONG, LONG), **short)
    with HttpServer("127.0.0.1", 0, threads=1, deadlines=deadlines) as server:
        server.start(application, 5000)
        yield server


@pytest.mark.parametrize(
    ("start", "drop", "short"), [(HEAD, b"X: x\r\n", "head"), (BODY, b"x", "body")], ids=["head", "body"]
)
def test_dripping_client_gets_408_at_the_deadline_of_the_part(start: bytes, drop: bytes, short: str) -> None:
    with serving(**{short: SHORT}) as server, connected(server.address) as client:
        client.sendall(start)
        with dripping([client], drop, SHORT / 10):
            answer = RawAnswer.of(rest_of(client))

    assert (answer.status, answer.rest) == (408, b"")
    assert short in json.loads(answer.body)["computeFault"]["message"]
    assert re.fullmatch(r"req-[0-9a-f-]{36}", answer.headers["x-openstack-request-id"])


def test_body_has_a_deadline_of_its_own() -> None:
    with serving(head=SHORT) as server, connected(server.address) as client:
        client.sendall(BODY)
        time.sleep(SHORT * 3)  # the time of the body is the subject here
        client.sendall(b"x" * 4000)

        until(lambda: client.recv(4096).endswith(b"4000"), "the answer")


@pytest.mark.parametrize("data", [b"", b"\r\n"], ids=["silent", "empty line"])
def test_client_without_a_request_is_disconnected_without_an_answer(data: bytes) -> None:
    with serving(head=SHORT) as server:
        assert sent(server.address, data) == b""


def test_idle_connection_is_closed_at_its_deadline() -> None:
    with serving(idle=SHORT) as server, connected(server.address) as client:
        client.sendall(ASK)

        assert RawAnswer.of(rest_of(client)).status == 200


def test_connection_with_regular_requests_is_not_idle() -> None:
    with serving(idle=SHORT * 4) as server, connected(server.address) as client:
        for _ in range(12):
            client.sendall(ASK)
            until(lambda: client.recv(4096).endswith(b"0"), "the answer")
            time.sleep(SHORT / 2)  # the time between requests is the subject here


def test_request_that_runs_long_has_no_deadline() -> None:
    def slow(environ: Any, start_response: Any) -> list[bytes]:
        time.sleep(SHORT * 3)  # the time of the request is the subject here
        return plain(environ, start_response)

    with serving(slow, head=SHORT, body=SHORT, answer=SHORT, idle=SHORT) as server:
        assert RawAnswer.of(sent(server.address, HEALTH)).status == 200


def test_client_that_reads_no_answer_holds_no_thread_and_is_disconnected() -> None:
    with serving(large, answer=SHORT) as server, connected(server.address) as client:
        client.sendall(ASK)
        assert len(sent(server.address, HEALTH)) > LARGE_BYTES
        time.sleep(SHORT * 3)  # the time without a read is the subject here

        with suppress(ConnectionError):
            assert len(rest_of(client)) < LARGE_BYTES


def test_requests_in_advance_are_answered_in_their_order() -> None:
    first = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    with serving() as server, connected(server.address) as client:
        client.sendall(first + ASK + b"GET / HTTP/1.1\r\nHo")
        client.sendall(b"st: x\r\nConnection: close\r\n\r\n" + ASK)

        bodies = re.findall(rb"\r\n\r\n([0-9])", rest_of(client))

    assert bodies == [b"3", b"0", b"0"]


def test_request_in_advance_waits_until_the_answer_before_it_is_read() -> None:
    calls = []

    def counting(environ: Any, start_response: Any) -> list[bytes]:
        calls.append(environ["PATH_INFO"])
        return large(environ, start_response)

    with serving(counting) as server, connected(server.address) as client:
        client.sendall(ASK * 100)
        check_answer(server.address)
        check_answer(server.address)

        assert len(calls) == 3
        received_all(client)
        until(lambda: len(calls) > 3, "the next request to be handled")


def test_unread_answers_of_many_clients_have_a_common_bound() -> None:
    with serving(large) as server, held(server.address, 20, ASK) as clients:
        check_answer(server.address)  # behind the others

        complete = [client for client in clients if received_all(client)]

    assert 0 < len(complete) < 20


def test_refused_request_is_a_line_of_the_access_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "snapmanage.access")
    with serving() as server:
        sent(server.address, b"GET /%b?secret=x HTTP/1.1\r\n\r\n" % (b"a" * 300))

    [line] = [record.getMessage() for record in caplog.records if record.name == "snapmanage.access"]
    path = re.escape(json.dumps(f"/{'a' * 254}…"))
    form = rf"address=127\.0\.0\.1 method=GET path={path} status=400 bytes=\d+ seconds=\S+ request=req-[0-9a-f-]{{36}}"
    assert re.fullmatch(f"Request answered: {form}", line)


def test_malformed_request_needs_no_thread() -> None:
    release = threading.Event()

    def hung(environ: Any, start_response: Any) -> list[bytes]:
        release.wait(20)
        return plain(environ, start_response)

    with serving(hung) as server, connected(server.address) as client:
        client.sendall(ASK)

        assert RawAnswer.of(sent(server.address, b"garbage\r\n\r\n")).status == 400
        release.set()
        assert RawAnswer.of(client.recv(4096)).status == 200


def test_application_that_fails_is_answered_in_the_form_of_the_api(caplog: pytest.LogCaptureFixture) -> None:
    def failing(environ: Any, start_response: Any) -> list[bytes]:
        raise OSError("no space left")

    with serving(failing) as server:
        answer = RawAnswer.of(sent(server.address, HEALTH))

    assert answer.status == 500
    assert json.loads(answer.body)["computeFault"]["code"] == 500
    assert b"no space left" not in answer.body
    assert any(record.exc_info for record in caplog.records)


def check_answer(address: str) -> None:
    assert len(sent(address, HEALTH)) > LARGE_BYTES


def received_all(client: Any) -> bool:
    try:
        missing = LARGE_BYTES
        while missing > 0 and (part := client.recv(1 << 20)):
            missing -= len(part)
        return missing <= 0
    except ConnectionError:
        return False
