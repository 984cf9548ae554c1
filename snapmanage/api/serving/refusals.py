"""Refusals of requests that do not reach the application, in the form of this API, with a line in the access log."""

import json
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from oslo_context import context
from waitress.task import ErrorTask

from snapmanage.api import requestids
from snapmanage.api.access import log as access
from snapmanage.api.answers import faults


@dataclass(eq=False)  # not frozen: Python writes the traceback into an exception
class Refusal(Exception):
    """The request is refused with `status` and `text`."""

    status: int
    text: str
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, error: Any) -> "Refusal":
        """Return the refusal for an error of the parser or of waitress."""
        return error if isinstance(error, Refusal) else cls(error.code, f"{error.reason}: {error.body}.")


class RefusalTask(ErrorTask):
    """Writes a refusal, and lets the connection close once the client has read it."""

    def execute(self) -> None:
        refusal = Refusal.of(self.request.error)
        received = self.channel.requests[0]  # `request` is another if the application failed
        request_id = received.request_id or str(context.generate_request_id())
        body = json.dumps(faults.fault(refusal.status, refusal.text)).encode()
        self.status = f"{refusal.status} {HTTPStatus(refusal.status).phrase}"
        self.content_length = len(body)
        self.response_headers.append(("Content-Type", "application/json"))
        headers = faults.SECURITY_HEADERS | {requestids.HEADER: request_id} | refusal.headers
        self.response_headers.extend(headers.items())
        self.set_close_on_finish()
        self.channel.linger()
        method = getattr(received, "command", None)  # None if the request line is missing or malformed
        self.write(b"" if method == "HEAD" else body)
        if not received.request_id:
            self._log(method, getattr(received, "request_uri", None), refusal, len(body), request_id)

    def _log(self, method: str | None, path: str | None, refusal: Refusal, size: int, request_id: str) -> None:
        access.write_line(
            address=self.channel.addr[0],
            method=method,
            path=path and path.partition("?")[0],
            status=refusal.status,
            bytes=size,
            seconds=f"{time.monotonic() - self.channel.since:.3f}",
            request=request_id,
        )
