"""The access log of the server: one line for each request, also if its application fails."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from snapmanage.api.access.log import AccessLog
from snapmanage.api.serving.server import HttpServer
from tests.functional.api.serving.raw import RawAnswer, request, sent


def fail(environ: Any, start_response: Any) -> list[bytes]:
    raise RuntimeError("a fault of the program")


def fail_late(environ: Any, start_response: Any) -> Iterator[bytes]:
    """Fail when the server reads the answer."""
    yield from ()
    raise RuntimeError("a fault of the program")


def answered(application: Any, method: str = "GET") -> RawAnswer:
    with HttpServer("127.0.0.1", 0, threads=1) as server:
        server.start(application, 100)
        return RawAnswer.of(sent(server.address, request(f"{method} /path?secret=x")))


@pytest.mark.parametrize("application", [fail, fail_late, AccessLog(fail), AccessLog(fail_late)])
def test_failed_request_has_one_line_with_the_id_of_its_answer(
    application: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "snapmanage.access")

    answer = answered(application)

    [line] = [record.getMessage() for record in caplog.records if record.name == "snapmanage.access"]
    assert answer.status == 500
    assert "method=GET path=/path status=500 " in line
    assert f"request={answer.headers['x-openstack-request-id']}" in line


def test_failed_request_of_a_head_has_no_body() -> None:
    assert answered(fail, "HEAD").body == b""
