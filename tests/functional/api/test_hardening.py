"""Malformed or hostile HTTP requests: each gets a refusal in the form of the API."""

import json
import logging
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from snapmanage.api.serving.channels import Deadlines
from snapmanage.api.serving.parser import LARGEST_HEAD, MOST_HEADERS
from snapmanage.api.serving.server import HttpServer
from tests.functional.api.serving.raw import RawAnswer, connected, request, rest_of, sent
from tests.functional.client import PROJECT
from tests.functional.world import World, running_world

OURS = f"/v3/{PROJECT}"
SNAPSHOTS = f"{OURS}/snapshots"
MANAGE = f"{OURS}/os-snapshot-manage"
SMUGGLED = "0\r\n\r\nGET /v3 HTTP/1.1\r\nHost: x\r\n\r\n"
UNKNOWN = "11111111-1111-1111-1111-111111111111"


SHORT = Deadlines(head=0.2, body=0.2)


@pytest.fixture(scope="module")
def short_limits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    """Yield an API server with short time limits."""
    applications: list[Any] = []

    def keep(application: Any) -> Any:
        applications.append(application)
        return application

    folder = tmp_path_factory.mktemp("server")
    with running_world(folder, around=keep), HttpServer("127.0.0.1", 0, threads=2, deadlines=SHORT) as http:
        http.start(applications[0], 4096)
        yield http


def post(body: str | bytes, *headers: str) -> bytes:
    text = body if isinstance(body, str) else body.decode("latin-1")
    return request(
        f"POST {MANAGE}", "Content-Type: application/json", f"Content-Length: {len(text)}", *headers, body=text
    )


def manage_request(ref: str) -> bytes:
    return post(f'{{"snapshot": {{"volume_id": "{UNKNOWN}", "ref": {ref}}}}}')


NO_HTTP = {
    "line ends without return": (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    "no words": (b"garbage\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/0.9": (request("GET / HTTP/0.9"), 505),
    "negative version": (request("GET / HTTP/1.-1"), 400),
    "long version": (request("GET / HTTP/1.1.1"), 400),
    "no method": (request(" /"), 400),
    "method in small letters": (request("get /v3"), 400),
    "method of symbols": (request("G{}T /v3"), 400),
    "method CONNECT": (request("CONNECT x:80"), 405),
    "URL of another server": (request("GET http://evil.example/v3"), 400),
    "URL of another server in OPTIONS": (request("OPTIONS http://evil.example/v3"), 400),
    "URL without a path": (request("GET v3"), 400),
    "URL with two slashes": (request("GET //v3"), 400),
    "URL of an impossible address": (request("GET //[v3"), 400),
    "URL with a fragment": (request("GET /v3#x"), 400),
    "URL of raw bytes": (request("GET /v3/\xff"), 400),
    "query of raw bytes": (request(f"GET {SNAPSHOTS}?name=\xff"), 400),
    "control character in the URL": (request("GET /v3\x01"), 400),
    "URL too long": (request(f"GET /{'x' * LARGEST_HEAD}"), 414),
    "header without colon": (request("GET /v3", "Nothing"), 400),
    "header without name": (request("GET /v3", ": x"), 400),
    "header name with a space": (request("GET /v3", "X-Auth Token: x"), 400),
    "space before the colon": (request("GET /v3", "Content-Length : 2", body="{}"), 400),
    "NUL in a header": (request("GET /v3", "X-Auth-Token: a\0b"), 400),
    "return in a header": (request("GET /v3", "X-Openstack-Request-Id: req-1\rSet-Cookie: a"), 400),
    "folded header": (request("GET /v3", "X-Auth-Token: a", " b"), 400),
    "folded first header": (request("GET /v3", " b", host=None), 400),
    "header too long": (request("GET /v3", f"Cookie: {'x' * LARGEST_HEAD}"), 413),
    "headers too many": (request("GET /v3", *(f"X-{number}: x" for number in range(MOST_HEADERS + 1))), 413),
    "no host": (request("GET /v3", host=None), 400),
    "two hosts": (request("GET /v3", "Host: y"), 400),
    "two tokens": (request(f"GET {SNAPSHOTS}", "X-Auth-Token: a", "X-Auth-Token: b"), 400),
    "two lengths": (request(f"POST {MANAGE}", "Content-Length: 0", "Content-Length: 2", body="{}"), 400),
    "length that is a list": (request(f"POST {MANAGE}", "Content-Length: 2, 2", body="{}"), 400),
    "length with a sign": (request(f"POST {MANAGE}", "Content-Length: +2", body="{}"), 400),
    "length below zero": (request("GET /v3", "Content-Length: -1"), 400),
    "length with an underscore": (request(f"POST {MANAGE}", "Content-Length: 1_0", body="{}"), 400),
    "length in words": (request(f"POST {MANAGE}", "Content-Length: two", body="{}"), 400),
    "length of 5000 digits": (request(f"POST {MANAGE}", f"Content-Length: {'9' * 5000}"), 400),
    "body much too large": (request(f"POST {MANAGE}", "Content-Length: 99999999999"), 413),
    "body in chunks": (request(f"POST {MANAGE}", "Transfer-Encoding: chunked", body=SMUGGLED), 411),
    "body in chunks with a length": (
        request(f"POST {MANAGE}", "Content-Length: 5", "Transfer-Encoding: chunked", body=SMUGGLED),
        411,
    ),
    "body in chunks on GET": (request("GET /v3", "Transfer-Encoding: chunked", body=SMUGGLED), 411),
    "body in chunks on HTTP/1.0": (
        request(f"POST {MANAGE} HTTP/1.0", "Transfer-Encoding: chunked", body=SMUGGLED),
        411,
    ),
    "body compressed": (request(f"POST {MANAGE}", "Transfer-Encoding: gzip"), 411),
}
NO_GOOD = {
    "host with a path": (request("GET /v3", host="Host: evil.example/<script>"), 400),
    "host with a user": (request("GET /v3", host="Host: a@evil.example"), 400),
    "host of raw bytes": (request("GET /v3", host="Host: \xff"), 400),
    "host that is empty": (request("GET /v3", host="Host:"), 400),
    "host with an impossible port": (request("GET /v3", host="Host: x:999999"), 400),
    "host of half an address": (request("GET /v3", host="Host: [::1"), 400),
    "method FOO": (request("FOO /v3"), 400),
    "method TRACE": (request("TRACE /v3"), 405),
    "method PATCH": (request(f"PATCH {SNAPSHOTS}"), 405),
    "method WEBSOCKET": (request("WEBSOCKET /v3"), 400),
    "OPTIONS nowhere": (request("OPTIONS /nowhere"), 404),
    "empty part of a path": (request(f"GET /v3//{PROJECT}/snapshots"), 404),
    "path that goes up": (request(f"GET {SNAPSHOTS}/../volumes"), 404),
    "encoded path that goes up": (request(f"GET {SNAPSHOTS}/%2e%2e%2fvolumes"), 404),
    "path of a file": (request(f"GET {SNAPSHOTS}/..%2f..%2f..%2fetc%2fpasswd"), 404),
    "path with backslashes": (request(f"GET {SNAPSHOTS}/..\\..\\x"), 404),
    "id in overlong UTF-8": (request(f"GET {SNAPSHOTS}/%c0%ae%c0%ae"), 404),
    "id with a bad escape": (request(f"GET {SNAPSHOTS}/%zz"), 404),
    "id of lines": (request(f"GET {SNAPSHOTS}/%0d%0aSet-Cookie:%20a"), 404),
    "id that is long": (request(f"GET {SNAPSHOTS}/{'a' * 30000}"), 404),
    "volume's id that is long": (request(f"GET {OURS}/volumes/{'%F0%9F%98%80' * 3000}"), 404),
    "message's id that is odd": (request(f"GET {OURS}/messages/%27%22%3B--", "OpenStack-API-Version: volume 3.5"), 404),
    "project that is long": (request(f"GET /v3/{'a' * 300}/snapshots"), 404),
    "lines in the query": (request(f"GET {SNAPSHOTS}?limit=%0d%0aSet-Cookie:%20a"), 400),
    "lines in a marker": (request(f"GET {MANAGE}?host=a@b&marker=%0d%0aSet-Cookie:%20a"), 400),
    "bad escape in the query": (request(f"GET {SNAPSHOTS}?name=%zz"), 400),
    "half an escape in the query": (request(f"GET {SNAPSHOTS}?name=%2"), 400),
    "parameter without a value": (request(f"GET {SNAPSHOTS}?limit"), 400),
    "10000 parameters": (request(f"GET {SNAPSHOTS}?{'a&' * 10000}"), 400),
    "101 parameters of one name": (request(f"GET {SNAPSHOTS}?{'&'.join(['limit=1'] * 101)}"), 400),
    "number of 5000 digits in the query": (request(f"GET {SNAPSHOTS}?offset={'9' * 5000}"), 400),
    "host of 30000 characters": (request(f"GET {MANAGE}?host={'a' * 15000}@{'b' * 15000}"), 400),
    "version of 5000 digits": (request(f"GET {SNAPSHOTS}", f"OpenStack-API-Version: volume 3.{'3' * 5000}"), 400),
    "version in other digits": (request(f"GET {SNAPSHOTS}", "OpenStack-API-Version: volume 3.\xb2"), 400),
    "type of raw bytes": (request(f"POST {MANAGE}", "Content-Type: \xff;;", "Content-Length: 2", body="{}"), 415),
    "body too large": (post(" " * 5000), 413),
    "body is empty": (post(""), 400),
    "body marked by its byte order": (post(b"\xef\xbb\xbf{}"), 400),
    "body in UTF-16": (post("{}".encode("utf-16")), 400),
    "body that isn't UTF-8": (post(b'{"snapshot": "\xff"}'), 400),
    "body of two": (post("{} {}"), 400),
    "body that is a list": (post("[]"), 400),
    "body that is null": (post("null"), 400),
    "key twice": (manage_request('"x", "ref": "y"'), 400),
    "key twice, deep down": (manage_request('{"a": {"b": 1, "b": 1}}'), 400),
    "NaN": (manage_request('{"a": NaN}'), 400),
    "-Infinity": (manage_request('{"a": -Infinity}'), 400),
    "number that is infinite": (manage_request('{"a": 1e400}'), 400),
    "number beyond 64 bits": (manage_request('{"a": 9223372036854775808}'), 400),
    "number of 3000 digits": (manage_request(f'{{"a": -{"9" * 3000}}}'), 400),
    "NUL": (manage_request('"\\u0000"'), 400),
    "half a character": (manage_request('"\\ud800"'), 400),
    "very deep": (manage_request("[" * 1500), 400),
}


def refused(world: World, data: bytes) -> RawAnswer:
    """Return the only answer to a request, which must be a refusal."""
    received = sent(world.client.root.removeprefix("http://"), data)
    answer = RawAnswer.of(received)
    [said] = json.loads(answer.body).values()
    assert said["code"] == answer.status
    assert said["message"]
    assert len(said["message"]) <= 1001
    assert "Traceback" not in said["message"]
    assert answer.rest == b""
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-type"] == "application/json"
    assert re.fullmatch(r"req-[0-9a-f-]{36}", answer.headers["x-openstack-request-id"])
    assert "set-cookie" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    return answer


@pytest.mark.parametrize(("data", "status"), [pytest.param(*case, id=name) for name, case in NO_HTTP.items()])
def test_malformed_http_is_refused_before_the_application(
    shared: World, caplog: pytest.LogCaptureFixture, data: bytes, status: int
) -> None:
    answer = refused(shared, data)

    assert answer.status == status
    assert "openstack-api-version" not in answer.headers
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(("data", "status"), [pytest.param(*case, id=name) for name, case in NO_GOOD.items()])
def test_suspicious_request_is_refused(
    shared: World, caplog: pytest.LogCaptureFixture, data: bytes, status: int
) -> None:
    assert refused(shared, data).status == status
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("method", ["CONNECT x:80", "TRACE /v3", f"DELETE {SNAPSHOTS}"])
def test_refused_method_gets_the_allowed_methods(shared: World, method: str) -> None:
    assert "GET" in refused(shared, request(method)).headers["allow"]


def test_repeated_json_key_is_named(shared: World) -> None:
    assert b"'volume_id' twice" in refused(shared, post('{"snapshot": {"volume_id": "a", "volume_id": "b"}}')).body


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(request(f"GET {SNAPSHOTS}", "Content-Length: 2", body="{}"), id="body on GET"),
        pytest.param(request(f"GET {SNAPSHOTS}", "Content-Length: 3", body="{\xff\0"), id="odd body on GET"),
        pytest.param(request(f"OPTIONS {SNAPSHOTS}", "Content-Length: 2", body="{}"), id="body on OPTIONS"),
        pytest.param(request("GET /v3", "X_Auth_Token: somebody:else"), id="name with an underscore"),
        pytest.param(request("GET /v3", "Expect: miracles"), id="another expectation"),
        pytest.param(request("GET /v3", "Accept: text/html"), id="another type asked for"),
        pytest.param(request("GET /v3 HTTP/1.0", host=None), id="HTTP/1.0"),
        pytest.param(request("GET /v3", host="Host: [::1]:8776"), id="host that is an address"),
        pytest.param(request(f"GET {SNAPSHOTS}?name=a&name={'x' * 30000}"), id="long text"),
        pytest.param(request(f"GET {SNAPSHOTS}?=&&=x&;"), id="parameters without names"),
        pytest.param(request(f"GET {SNAPSHOTS}?{'&'.join(['limit=1'] * 100)}"), id="100 parameters"),
    ],
)
def test_unusual_but_harmless_request_is_served(shared: World, data: bytes) -> None:
    answer = RawAnswer.of(sent(shared.client.root.removeprefix("http://"), data))

    assert answer.status == 200
    assert answer.rest == b""


def test_version_in_two_headers_is_read_as_one_list(shared: World) -> None:
    spoken = ("OpenStack-API-Version: compute 2.1", "OpenStack-API-Version: volume 3.44")

    answer = RawAnswer.of(sent(shared.client.root.removeprefix("http://"), request(f"GET {SNAPSHOTS}", *spoken)))

    assert answer.headers["openstack-api-version"] == "volume 3.44"


def test_head_is_refused_without_a_body(shared: World) -> None:
    for data in (request(f"HEAD {SNAPSHOTS}"), request("HEAD /v3", "Transfer-Encoding: chunked")):
        head, _, after = sent(shared.client.root.removeprefix("http://"), data).partition(b"\r\n\r\n")

        assert head.split(b" ")[1] in (b"405", b"411")
        assert after == b""


def test_client_that_expects_100_continue_gets_it(shared: World) -> None:
    received = sent(shared.client.root.removeprefix("http://"), post("{}", "Expect: 100-continue"))

    first, _, rest = received.partition(b"\r\n\r\n")
    assert first == b"HTTP/1.1 100 Continue"
    assert RawAnswer.of(rest).status == 400


@pytest.mark.parametrize("more", [(), ("Content-Length: 0",)], ids=["no length", "length 0"])
def test_request_without_a_body_is_answered_though_it_expects_100_continue(
    shared: World, more: tuple[str, ...]
) -> None:
    received = sent(shared.client.root.removeprefix("http://"), request("GET /v3", "Expect: 100-continue", *more))

    assert RawAnswer.of(received).status == 200


def test_client_that_continues_to_send_can_read_the_refusal(shared: World) -> None:
    data = request(f"POST {MANAGE}", f"Content-Length: {10**8}", body="x" * 10**6)

    assert refused(shared, data).status == 413


def test_idle_clients_delay_no_other_client(shared: World) -> None:
    address = shared.client.root.removeprefix("http://")
    with connected(address) as first, connected(address) as second:
        first.sendall(b"GET /v3 HTTP/1.1\r\n")
        second.sendall(request(f"POST {MANAGE}", "Content-Type: application/json", "Content-Length: 10", body="{"))

        assert shared.client.get("/v3").status_code == 200


@pytest.mark.parametrize(
    "data",
    [
        b"GET /v3 HTTP/1.1\r\nHost:",
        request(f"POST {MANAGE}", "Content-Type: application/json", "Content-Length: 10", body="{"),
    ],
    ids=["head", "body"],
)
def test_client_that_stops_halfway_times_out(
    short_limits: HttpServer, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    answer = RawAnswer.of(sent(short_limits.address, data))

    assert (answer.status, answer.rest) == (408, b"")
    assert json.loads(answer.body)["computeFault"]["code"] == 408
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_client_that_disconnects_halfway_does_no_harm(shared: World, caplog: pytest.LogCaptureFixture) -> None:
    for data in (
        b"GET /v3 HT",
        request(f"POST {MANAGE}", "Content-Type: application/json", "Content-Length: 9", body="{"),
    ):
        with connected(shared.client.root.removeprefix("http://")) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            received = rest_of(connection)

        assert received == b"" or RawAnswer.of(received).status == 400
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
