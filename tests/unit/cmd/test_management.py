"""The client of the management API refuses an invalid URL without its password, and reports a broken answer."""

import http.server
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import repeat
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.cmd.wiring import management
from tests.unit.cmd.test_broker_tls import configured


@contextmanager
def answering(status: bytes, headers: dict[str, str], body: Iterable[bytes] = ()) -> Iterator[tuple[int, list[str]]]:
    """Serve the same answer for each request; yield the port and the paths that were requested."""
    paths: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.wfile.write(status + b"\r\n")
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):  # the client closes the connection
                for part in body:
                    self.wfile.write(part)

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, paths
        server.shutdown()


def managed(folder: Path, url: str) -> str:
    """Query the API at a URL, and return the error."""
    conf = configured(folder, "", f"rabbit://host/\nbroker_management_url = {url}")
    with pytest.raises((errors.ConfigurationError, errors.Unavailable)) as refused:
        management.describe(conf, "queue")
    assert "s3cret" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://u:s3cret@[::1/",
        "http://u:s3cret\N{ACCOUNT OF}@host/",
        "https://u:s3cret@host:x",
        "ftp://u:s3cret@host",
        "file:///etc/s3cret",
        "u:s3cret@host",
    ],
)
def test_invalid_url_is_refused_without_its_password(tmp_path: Path, url: str) -> None:
    assert "[DEFAULT] broker_management_url is not a valid URL" in managed(tmp_path, url)


def test_answer_that_is_not_http_is_reported(tmp_path: Path) -> None:
    with answering(b"220 mail.example ready", {}) as (port, _):
        assert f"http://127.0.0.1:{port} can't show queue" in managed(tmp_path, f"http://u:s3cret@127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (repeat(b" " * 65536), "more than 1048576 bytes"),
        (repeat(b"[" * 1000, 500), "recursion"),
        ([b'["effective_policy_definition"]'], "not a JSON object"),
        ([b'"effective_policy_definition"'], "not a JSON object"),
    ],
    ids=["endless", "deep", "list", "text"],
)
def test_answer_that_is_no_small_object_is_reported(tmp_path: Path, body: Iterable[bytes], problem: str) -> None:
    with answering(b"HTTP/1.0 200 OK", {"Content-Type": "application/json"}, body) as (port, _):
        assert problem in managed(tmp_path, f"http://u:s3cret@127.0.0.1:{port}")


def test_slow_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(management, "TIMEOUT_SECONDS", 0.5)
    never = threading.Event()

    with answering(
        b"HTTP/1.0 200 OK", {"Content-Type": "application/json"}, (b" " for _ in iter(lambda: never.wait(0.05), True))
    ) as (port, _):
        assert "took more than 0.5 s" in managed(tmp_path, f"http://u:s3cret@127.0.0.1:{port}")


def test_redirect_is_not_followed(tmp_path: Path) -> None:
    elsewhere = answering(b"HTTP/1.0 404 Not Found", {})
    with (
        elsewhere as (other, paths),
        answering(b"HTTP/1.0 302 Found", {"Location": f"http://127.0.0.1:{other}/"}) as (port, _),
    ):
        assert "302" in managed(tmp_path, f"http://u:s3cret@127.0.0.1:{port}")

    assert paths == []
