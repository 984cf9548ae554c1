"""Strict HTTP: requests that a proxy could parse differently are refused before the application."""

import re
from dataclasses import dataclass

from waitress.parser import HTTPRequestParser

from snapmanage.api.access.log import LONGEST_FIELD
from snapmanage.api.serving.refusals import Refusal

LARGEST_HEAD = 65536
MOST_HEADERS = 100

_CONTROLS = {*range(32), 127} - set(b"\t\r\n")
_ALLOWED = bytes(set(range(256)) - _CONTROLS)
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Z]+) ([!-~]+) HTTP/([0-9]\.[0-9])")
_PATH = re.compile(rb"/(?!/)[!\"$-~]*")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_NO_REQUEST_LINE = "Malformed Request-Line: send METHOD PATH VERSION"
# A repeated header of these could be parsed differently by a proxy; other repeated headers are lists.
_ONCE = {b"host", b"content-length", b"content-type", b"authorization", b"x-auth-token", b"idempotency-key"}
_ONCE |= {b"snapmanage-snapshot-id", b"snapmanage-volume-id"}


@dataclass(frozen=True)
class LargeBodies:
    """The paths with a limit of their own, by their ends, and the limit in bytes."""

    path_ends: tuple[str, ...] = ()
    largest: int = 0

    def allow(self, path: str) -> bool:
        return path.rstrip("/").endswith(self.path_ends)


NO_LARGE_BODIES = LargeBodies()


class StrictParser(HTTPRequestParser):
    """Reads one request after RFC 9112, without its deprecated forms.

    waitress drops headers with an underscore in their name: in a WSGI environment they could replace other headers.
    """

    headers: dict[str, str]
    headers_finished: bool
    request_uri: str
    version = "1.1"
    # The bytes of the request that have arrived and are kept.
    held_bytes = 0
    # The request id that the application has assigned; `AccessLog` then writes the line of the request.
    request_id: str | None = None

    def received(self, data: bytes) -> int:
        """Consume bytes of the request; after a malformed one consume all, since the connection will close."""
        consumed = len(data)
        try:
            if not self.headers_finished:
                self._check_part(data)
            consumed = super().received(data)
            self.held_bytes += consumed
            if self.empty:
                raise Refusal(400, _NO_REQUEST_LINE)
        except Refusal as refusal:
            self.error = refusal
        if self.error:
            self.refuse(Refusal.of(self.error))
            self.expect_continue = False  # otherwise waitress would invite the body, and forget the error
            return len(data)
        return consumed

    @property
    def started(self) -> bool:
        """Return whether more than an empty line has arrived."""
        return bool(self.headers_finished or self.header_plus.strip(b"\r\n"))

    def refuse(self, refusal: Refusal) -> None:
        """End the request with an error, which the channel answers, and keep no more than the log shows of it."""
        self.empty = False
        self.error = refusal
        self.completed = self.headers_finished = True
        self.header_plus, self.headers, self.body_rcv, self.held_bytes = b"", {}, None, 0
        self.path = self.query = ""
        if hasattr(self, "request_uri"):
            self.request_uri = self.request_uri[: LONGEST_FIELD + 1]

    def parse_header(self, header_plus: bytes) -> None:
        """Check a complete head, and let waitress parse it without blanks around its values.

        The time of waitress' own expression for a header grows with the square of the number of blanks.
        """
        line, *rest = header_plus.removesuffix(b"\r\n\r\n").split(b"\r\n")
        self._check_request_line(line)
        headers: dict[bytes, list[bytes]] = {}
        for name, value in map(_split, rest):
            headers.setdefault(name, []).append(value)
        _check_headers(headers, len(rest), is_host_required=line.endswith(b"1"))
        # waitress' own limit is the first size that it refuses on any path.
        large = getattr(self.adj, "large_bodies", NO_LARGE_BODIES)
        usual = getattr(self.adj, "largest_body", self.adj.max_request_body_size - 1)
        largest = large.largest if large.allow(self.request_uri.partition("?")[0]) else usual
        if int(headers.get(b"content-length", [b"0"])[0]) > largest:
            raise Refusal(413, f"Request is too large: the limit of a body is {largest} bytes.")
        lines = [name + b": " + value for name, values in headers.items() for value in values]
        super().parse_header(b"\r\n".join([line, *lines, b"", b""]))
        self.header_plus = self.first_line = b""  # waitress would keep the head twice
        if not self.content_length:
            self.expect_continue = False  # otherwise waitress would take the next request for a part of this one

    def _check_part(self, data: bytes) -> None:
        """Check bytes of a head as they arrive, each once, so that one without an end is refused early."""
        known = len(self.header_plus)
        received = self.header_plus + data
        if received.startswith((b" ", b"\t", b"\n")):
            raise Refusal(400, _NO_REQUEST_LINE)
        end = received.find(b"\r\n\r\n", max(0, known - 3))
        if _is_malformed(received[max(0, known - 3) : len(received) if end < 0 else end + 2]):
            raise Refusal(400, "The request has a malformed header line.")
        # Without its end, the last three bytes may belong to the end.
        if (len(received) - 3 if end < 0 else end) <= LARGEST_HEAD:
            return
        if b"\r\n" not in received[2 : LARGEST_HEAD + 2]:
            raise Refusal(414, f"The URL is longer than {LARGEST_HEAD} bytes.")
        raise Refusal(413, f"The headers are longer than {LARGEST_HEAD} bytes.")

    def _check_request_line(self, line: bytes) -> None:
        parts = _REQUEST_LINE.fullmatch(line)
        if not parts:
            raise Refusal(400, _NO_REQUEST_LINE)
        method, target, version = parts.groups()
        self.command, self.request_uri = method.decode(), target.decode()
        if version not in (b"1.0", b"1.1"):
            raise Refusal(505, "This HTTP version is not supported: send HTTP/1.1.")
        if method == b"CONNECT":
            raise Refusal(405, "The method CONNECT is not allowed.", {"Allow": "GET, POST, OPTIONS"})
        if not _PATH.fullmatch(target):
            raise Refusal(400, "Malformed Request-URI: send a path that begins with one /")


def _is_malformed(part: bytes) -> bool:
    """Return whether a part of a head has a control character, half a line end, or a folded header.

    A regular expression would take milliseconds for a large head, in which the loop serves no other client.
    """
    lines = part.count(b"\r\n")
    line_feeds = part.count(b"\n") - part.startswith(b"\n")  # its other half is in the part before
    returns = part.count(b"\r") - part.endswith(b"\r")  # its other half may be in the next part
    is_folded = b"\r\n " in part or b"\r\n\t" in part
    return bool(part.translate(None, _ALLOWED)) or line_feeds != lines or returns != lines or is_folded


def _split(line: bytes) -> tuple[bytes, bytes]:
    """Return a header's name, in small letters, and its value."""
    name, colon, value = line.partition(b":")
    name = name.lower()
    if not (colon and _NAME.fullmatch(name)):
        raise Refusal(400, "The request has a malformed header line.")
    return name, value.strip(b" \t")


def _check_headers(headers: dict[bytes, list[bytes]], count: int, is_host_required: bool) -> None:
    if count > MOST_HEADERS:
        raise Refusal(413, f"The request has more than {MOST_HEADERS} headers.")
    if b"transfer-encoding" in headers:
        raise Refusal(411, "Missing Content-Length: send the body in one piece.")
    for name in _ONCE & headers.keys():
        if len(headers[name]) > 1:
            raise Refusal(400, f"The header {name.decode().title()} is repeated.")
    if not _LENGTH.fullmatch(headers.get(b"content-length", [b"0"])[0]):
        raise Refusal(400, "Malformed Content-Length Header.")
    if is_host_required and b"host" not in headers:
        raise Refusal(400, "The request has no Host header.")
