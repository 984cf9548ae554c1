"""The access log: one line for each request with its caller, status and ids; refused requests have one too.

The logger is `snapmanage.access`, so that the configuration of logging can redirect it or switch it off. The path is
logged without its query, which may contain secrets.
"""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from snapmanage.api import requestids
from snapmanage.api.access.callers import Caller
from snapmanage.core.values.logfields import fields
from snapmanage.core.values.text import cut

LOG = logging.getLogger("snapmanage.access")
LONGEST_FIELD = 255
# The keys in a WSGI environment of the authenticated caller, and of further fields of the line.
CALLER = "snapmanage.caller"
NOTES = "snapmanage.notes"

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


def note(environ: dict[str, Any], **values: str) -> None:
    """Add fields to the line of a request."""
    environ.setdefault(NOTES, {}).update(values)


def write_line(**values: object) -> None:
    """Write the line of a request; long texts are cut, and empty ones are left out."""
    if LOG.isEnabledFor(logging.INFO):
        shown = {
            name: cut(value, LONGEST_FIELD) or None if isinstance(value, str) else value
            for name, value in values.items()
        }
        LOG.info("Request answered: %s", fields(**shown))


class AccessLog:
    """A WSGI application that logs each request to the application inside, and gives it its ids."""

    def __init__(self, application: Application, clock: Callable[[], float] = time.monotonic) -> None:
        self.application = application
        self._clock = clock

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        begun_at = self._clock()
        requestids.assign(environ)
        sent: dict[str, Any] = {"status": "500", "headers": ()}

        def recording(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            sent.update(status=status, headers=headers)
            return start_response(status, headers, *error)

        try:
            return self.application(environ, recording)
        finally:
            _write_line_of(environ, self._clock() - begun_at, **sent)


def _write_line_of(environ: dict[str, Any], seconds: float, status: str, headers: Iterable[tuple[str, str]]) -> None:
    caller: Caller | None = environ.get(CALLER)
    write_line(
        address=environ.get("REMOTE_ADDR"),
        user=caller and caller.requester.user_id,
        project=caller and caller.requester.project_id,
        roles=caller and ",".join(caller.roles),
        method=environ["REQUEST_METHOD"],
        path=_decode(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")),
        status=status[:3],
        bytes=next((value for name, value in headers if name.lower() == "content-length"), 0),
        seconds=f"{seconds:.3f}",
        request=environ[requestids.REQUEST_ID],
        global_request=environ[requestids.GLOBAL_REQUEST_ID],
        **environ.get(NOTES, {}),
    )


def _decode(path: str) -> str:
    """Return a path of a WSGI environment, whose characters stand for bytes, as the client has written it."""
    return path.encode("latin-1", "replace").decode(errors="backslashreplace")
