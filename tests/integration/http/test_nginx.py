"""The API behind nginx with TLS, with the configuration of `etc/nginx`."""

import json
import threading
from collections.abc import Iterator

import pytest

from snapmanage.api.answers import faults
from snapmanage.testing import needs
from snapmanage.testing.services.process import LOOPBACK, running
from snapmanage.testing.waiting import until
from tests.functional.api.serving.programs import Api, running_api
from tests.functional.api.serving.raw import RawAnswer, request, rest_of, sent
from tests.functional.client import PROJECT
from tests.services import nginx as nginx_service
from tests.services.nginx import NAME, Nginx

SNAPSHOTS = f"/v3/{PROJECT}/os-snapshot-manage"
OPTIONS = "noauth_anywhere = true\n[oslo_middleware]\nenable_proxy_headers_parsing = true\n"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    needs.require(*nginx_service.PROGRAMS)
    with running_api(tmp_path_factory.mktemp("api"), options=OPTIONS) as api:
        yield api


@pytest.fixture(scope="module")
def nginx(api: Api) -> Iterator[Nginx]:
    with running(nginx_service.in_front_of(api.address)) as service:
        yield service


def answer(nginx: Nginx, data: bytes) -> RawAnswer:
    """Return the answer to a request on a new connection."""
    with nginx.connect() as connection:
        connection.sendall(data)
        return RawAnswer.of(rest_of(connection))


def links(answer: RawAnswer) -> list[str]:
    return [link["href"] for link in json.loads(answer.body)["versions"][0]["links"] if link["rel"] == "self"]


def test_links_have_the_scheme_and_the_host_of_the_client(nginx: Nginx) -> None:
    found = answer(nginx, request("GET /v3", host=f"Host: {NAME}:8443"))

    assert links(found) == [f"https://{NAME}:8443/v3/"]


@pytest.mark.parametrize(
    "header",
    [
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Proto: ftp",
        "X-Forwarded-Prefix: /evil",
        "X-Forwarded-Port: 1",
        "Forwarded: host=evil.example;proto=ftp;for=192.0.2.1",
    ],
)
def test_client_cannot_forge_the_headers_of_the_proxy(nginx: Nginx, header: str) -> None:
    found = answer(nginx, request("GET /v3", header, host=f"Host: {NAME}"))

    assert links(found) == [f"https://{NAME}/v3/"]


@pytest.mark.parametrize(("size", "status"), [(114688, 400), (114689, 413), (10**6, 413)])
def test_limit_of_a_body_is_that_of_the_api(nginx: Nginx, size: int, status: int) -> None:
    headers = ("Content-Type: application/json", f"Content-Length: {size}")

    refused = answer(nginx, request(f"POST {SNAPSHOTS}", *headers, host=f"Host: {NAME}", body=" " * size))

    assert refused.status == status
    [fault] = json.loads(refused.body).values()
    assert fault["code"] == status


@pytest.mark.parametrize("path", ["/v3/os-snapshot-manage/batch", "/v3/manageable_snapshots/batch"])
@pytest.mark.parametrize(("size", "status"), [(2**20, 400), (2**20 + 1, 413)])
def test_limit_of_a_batch_is_that_of_the_api(nginx: Nginx, path: str, size: int, status: int) -> None:
    headers = ("Content-Type: application/json", f"Content-Length: {size}", "OpenStack-API-Version: volume 3.8")

    refused = answer(nginx, request(f"POST {path}", *headers, host=f"Host: {NAME}", body=" " * size))

    assert refused.status == status
    [fault] = json.loads(refused.body).values()
    assert fault["code"] == status


REFUSED = {
    "method": (b"get /v3 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "request line": (b"\x16\x03\x01 nonsense\r\n\r\n", 400),
    "missing host": (b"GET /v3 HTTP/1.1\r\n\r\n", 400),
    "length of the body": (request("POST /v3", "Content-Length: x"), 400),
    "path outside": (request("GET /../x"), 400),
    "path of the refusals": (request("GET /nginx-refusal"), 404),
    "trace": (request("TRACE /v3"), 405),
    "long header": (request("GET /v3", f"X-Long: {'x' * 9000}"), 413),
    "long url": (request(f"GET /v3?{'x' * 9000}"), 414),
    "encoding": (request("POST /v3", "Transfer-Encoding: gzip"), 501),
    "version": (b"GET /v3 HTTP/3.0\r\nHost: x\r\n\r\n", 505),
}


@pytest.mark.parametrize(("data", "status"), REFUSED.values(), ids=REFUSED)
def test_request_that_nginx_refuses_is_answered_in_the_form_of_the_api(nginx: Nginx, data: bytes, status: int) -> None:
    refused = answer(nginx, data)

    check_form(refused, status)


def test_request_without_tls_is_answered_in_the_form_of_the_api(nginx: Nginx) -> None:
    refused = RawAnswer.of(sent(f"{LOOPBACK}:{nginx.port}", request("GET /v3", host=f"Host: {NAME}")))

    check_form(refused, 400)


def check_form(refused: RawAnswer, status: int) -> None:
    assert (refused.status, refused.headers["content-type"]) == (status, "application/json")
    [(name, fault)] = json.loads(refused.body).items()
    assert {name: fault} == faults.fault(status, fault["message"])


def test_body_in_chunks_arrives_in_one_piece(nginx: Nginx) -> None:
    head = (f"Host: {NAME}", "Content-Type: application/json", "Transfer-Encoding: chunked")

    refused = answer(nginx, request(f"POST {SNAPSHOTS}", *head, host=None, body="2\r\n{}\r\n0\r\n\r\n"))

    assert refused.status == 400
    assert "snapshot" in json.loads(refused.body)["badRequest"]["message"]


def test_certificate_is_renewed_without_a_lost_request(nginx: Nginx) -> None:
    ended = threading.Event()
    statuses: list[int] = []

    def ask() -> None:
        while not ended.is_set():
            statuses.append(answer(nginx, request("GET /healthcheck", host=f"Host: {NAME}")).status)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        for _ in range(3):
            serial = nginx.renew_certificate()
            until(lambda: nginx.serial_number() == serial, "the new certificate")  # noqa: B023 - called at once
    finally:
        ended.set()
        for client in clients:
            client.join()

    assert len(statuses) > len(clients)
    assert set(statuses) == {200}


def test_stopped_api_is_answered_in_the_form_of_the_api(nginx: Nginx, api: Api) -> None:
    api.daemon.stop()

    refused = answer(nginx, request("GET /v3", host=f"Host: {NAME}"))

    assert json.loads(refused.body)["serviceUnavailable"]["code"] == refused.status == 503
    assert refused.headers["retry-after"] == "5"
