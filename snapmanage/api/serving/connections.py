"""Strict HTTP: requests that a proxy could parse differently are refused, in the form of this API.

These requests do not reach the application. The refusals of the application are in `api/app.py`.
"""

import contextlib
import json
import logging
import re
import time
from email.utils import formatdate
from typing import Any

from cheroot import server
from oslo_context import context

from snapmanage.api import answers

LOG = logging.getLogger(__name__)

LARGEST_HEAD = 65536
MOST_HEADERS = 100
# A refused client may continue to send for this time: closing earlier would discard the answer.
LINGER_SECONDS = 0.5

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")
# A repeated header of these could be parsed differently by a proxy; other repeated headers are lists.
_ONCE = {b"Host", b"Content-Length", b"Content-Type", b"Authorization", b"X-Auth-Token", b"Idempotency-Key"}


class Refusal(Exception):
    """The request is refused; `status` has a code and a reason phrase."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status


class StrictHeaders(server.HeaderReader):
    """Reads headers after RFC 9112, without its deprecated forms.

    Headers with an underscore in their name are dropped: in a WSGI environment they could replace other headers.
    """

    def __call__(self, rfile: Any, hdict: dict[bytes, bytes] | None = None) -> dict[bytes, bytes]:
        headers = {} if hdict is None else hdict
        for _ in range(MOST_HEADERS + 1):
            line = rfile.readline()
            if line == b"\r\n":
                if b"Transfer-Encoding" in headers:
                    raise Refusal("411 Length Required", "Missing Content-Length: send the body in one piece.")
                if not re.fullmatch(rb"[0-9]{1,18}", headers.get(b"Content-Length", b"0")):
                    raise Refusal("400 Bad Request", "Malformed Content-Length Header.")
                return headers
            name, colon, rest = line.partition(b":")
            name, value = name.title(), rest.removesuffix(b"\r\n").strip(b" \t")
            if not (line.endswith(b"\r\n") and colon and _TOKEN.fullmatch(name) and _VALUE.fullmatch(value)):
                raise Refusal("400 Bad Request", "The request has a malformed header line.")
            if name in headers:
                if name in _ONCE:
                    raise Refusal("400 Bad Request", f"The header {name.decode()} is repeated.")
                value = headers[name] + b", " + value
            if b"_" not in name:
                headers[name] = value
        raise Refusal("413 Content Too Large", f"The request has more than {MOST_HEADERS} headers.")


class Request(server.HTTPRequest):
    """A request; malformed requests are refused here, and do not reach the application."""

    header_reader = StrictHeaders()

    def parse_request(self) -> None:
        try:
            super().parse_request()
            if self.ready and self.request_protocol == b"HTTP/1.1" and b"Host" not in self.inheaders:
                self.ready = False
                raise Refusal("400 Bad Request", "The request has no Host header.")
        except Refusal as refusal:
            self.simple_response(refusal.status, str(refusal))
        except ValueError:  # the URL has an invalid address
            self.simple_response("400 Bad Request", "Malformed Request-URI")

    def read_request_line(self) -> bool:
        if not super().read_request_line():  # type: ignore[no-untyped-call]  # cheroot has no annotations
            return False
        if self.request_protocol not in (b"HTTP/1.0", b"HTTP/1.1"):
            raise Refusal("400 Bad Request", "Malformed Request-Line: bad version")
        if not _TOKEN.fullmatch(self.method) or not re.fullmatch(rb"/[!-~]*", self.uri):
            raise Refusal("400 Bad Request", "Malformed Request-Line: send METHOD PATH VERSION")
        return True

    def send_headers(self) -> None:
        """Send headers; close the connection if the body was refused or did not arrive, without reading its rest."""
        if int(self.status[:3]) in (408, 413):
            self.close_connection = self.conn.refused = True
        super().send_headers()

    def simple_response(self, status: Any, msg: Any = "") -> None:
        """Write a refusal in the form of this API and close the connection."""
        code, _, reason = str(status).partition(" ")
        request_id = str(context.generate_request_id())
        LOG.debug("[%s] Malformed request refused: %s %s", request_id, status, msg)
        body = json.dumps(answers.fault(int(code), str(msg) or f"{reason}.")).encode()
        allow = ["Allow: GET, POST, OPTIONS"] if code == "405" else []
        head = [
            f"{self.server.protocol} {status}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
            f"X-Openstack-Request-Id: {request_id}",
            *allow,
            f"Date: {formatdate(usegmt=True)}",
            f"Server: {self.server.server_name}",
        ]
        shown = b"" if getattr(self, "method", b"") == b"HEAD" else body
        self.close_connection = self.conn.refused = True
        with contextlib.suppress(OSError):  # the client may have left
            self.conn.wfile.write("\r\n".join([*head, "", ""]).encode() + shown)


class Connection(server.HTTPConnection):
    """A connection that stays open until a refused client has read the reason."""

    RequestHandlerClass = Request
    refused = False

    def close(self) -> None:
        if self.refused:
            with contextlib.suppress(OSError):
                self._linger()
        super().close()
        # The socket is closed, so a flush of the rest fails at once. Without it Python 3.13 and later print a traceback
        # when they collect the buffer of a client that left before its answer.
        with contextlib.suppress(OSError):
            self.wfile.close()

    def _linger(self) -> None:
        deadline = time.monotonic() + LINGER_SECONDS
        self.socket.shutdown(1)
        self.socket.settimeout(LINGER_SECONDS)
        while time.monotonic() < deadline and self.socket.recv(65536):
            pass
