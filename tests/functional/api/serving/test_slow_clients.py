"""Silent and dripping clients beside /healthcheck, which must stay quick."""

import statistics
from collections.abc import Iterator

import pytest

from snapmanage.testing.slow_clients import dripping
from tests.functional.api.serving.programs import Api, running_api
from tests.functional.api.serving.raw import check_health, health_seconds, held

CLIENTS = 1000
# The first is the promise. A busy machine delays some requests, so the second, for half of them, is wider.
QUICK_SECONDS, BUSY_SECONDS = 0.1, 1.0
HEAD = b"GET /healthcheck HTTP/1.1\r\nHost: x\r\n"
BODY = b"POST /v3/snapshots HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n{"


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two processes"])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(tmp_path_factory.mktemp("api"), workers=request.param) as running:
        yield running


def test_silent_clients_delay_no_other_client(api: Api) -> None:
    with held(api.address, CLIENTS):
        assert_quick(health_seconds(api.address))


@pytest.mark.parametrize(("start", "drop"), [(HEAD, b"X: x\r\n"), (BODY, b" ")], ids=["head", "body"])
def test_dripping_clients_delay_no_other_client(api: Api, start: bytes, drop: bytes) -> None:
    with held(api.address, CLIENTS, start) as clients, dripping(clients, drop, interval_seconds=0.5):
        assert_quick(health_seconds(api.address))


def test_clients_that_read_no_answer_delay_no_other_client(api: Api) -> None:
    with held(api.address, 64, b"GET /v3/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100):
        check_health(api.address)  # behind the requests that are in time
        assert_quick(health_seconds(api.address))


def assert_quick(seconds: list[float]) -> None:
    assert min(seconds) < QUICK_SECONDS
    assert statistics.median(seconds) < BUSY_SECONDS
