"""CADF events of API requests, made by the audit filter of keystonemiddleware.

The filter expects the caller in the headers that `auth_token` adds in front of it. Here the strategy authenticates a
request inside the application, so the filter gets a request after its answer: with the caller of any strategy, without
tokens and passwords, and with a stub that repeats the answer's status. The client chooses neither whether the filter
can read the request, nor the size of its events. This module is imported only if an audit map is configured; it needs
the extra `snapmanage[keystone]`.
"""

import atexit
import io
import json
import logging
import queue
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from snapmanage.api import requestids
from snapmanage.api.access.callers import Caller
from snapmanage.api.access.log import CALLER, Application
from snapmanage.core.values.logfields import fields

LOG = logging.getLogger(__name__)

# The type of the service in the audit map.
SERVICE_TYPE = "block-storage"
# Load balancers call it often, for no user.
UNAUDITED = "/healthcheck"
# The name of the service in events of requests whose header `Host` the filter can't read.
NAME = "snapmanage"
# Characters of a path, a query and a header in an event; both events of a request repeat them.
LONGEST_TEXT = 2000
# Requests whose events wait while the broker is slow, and the seconds for which the process waits for them at its end.
MOST_WAITING = 1000
DRAIN_SECONDS = 2.0
WARNING_INTERVAL_SECONDS = 60.0
_STATUS = "snapmanage.status"
# The filter sees nothing else of a request; a client can't add a header that the filter believes.
_PASSED = (
    "REQUEST_METHOD",
    "QUERY_STRING",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "REMOTE_ADDR",
    "HTTP_USER_AGENT",
    "wsgi.url_scheme",
    "wsgi.errors",
    "wsgi.version",
    requestids.REQUEST_ID,
    requestids.GLOBAL_REQUEST_ID,
)


class CadfAudit:
    """A WSGI application that passes each answered request, refused ones included, to the audit filter.

    With `in_background`, a thread does so: a broker that hangs must delay no request.
    """

    def __init__(
        self, application: Application, make_filter: Callable[[Application], Application], in_background: bool = False
    ) -> None:
        # pycadf warns of each id that is no UUID, and the names of users aren't.
        warnings.filterwarnings("ignore", message="Invalid uuid", module=r"pycadf\.")
        self.application = application
        self._filter = make_filter(_repeat_status)
        self._pass_on = Background(self._audit).put if in_background else self._audit

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        statuses: list[str] = []

        def recording(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            statuses.append(status)
            return start_response(status, headers, *error)

        answered = self.application(environ, recording)
        if environ.get("PATH_INFO") != UNAUDITED:
            self._pass_on(_described(environ, statuses[-1]))
        return answered

    def _audit(self, described: dict[str, Any]) -> None:
        try:
            for _ in self._filter(described, lambda status, headers, *error: None):
                pass
        except Exception as error:  # the request is answered, perhaps with 202, so its event must not fail it
            request = described.get(requestids.REQUEST_ID)
            LOG.error(
                "The audit filter failed; the request has no CADF event: %s", fields(request=request, reason=error)
            )
            LOG.debug("The failure of the audit filter:", exc_info=True)


class Background:
    """A thread that handles the descriptions of requests one after the other; a limited number waits."""

    def __init__(self, handle: Callable[[dict[str, Any]], None], most_waiting: int = MOST_WAITING) -> None:
        self._handle = handle
        self._waiting: queue.Queue[dict[str, Any]] = queue.Queue(most_waiting)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._warn_at = 0.0
        atexit.register(self.drain, DRAIN_SECONDS)

    def put(self, described: dict[str, Any]) -> None:
        """Let the thread handle a description; log at most one line a minute if too many wait."""
        with self._starting:  # at the first request: a WSGI server may fork before it
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="cadf", daemon=True)
                self._thread.start()
        try:
            self._waiting.put_nowait(described)
        except queue.Full:
            if time.monotonic() >= self._warn_at:
                self._warn_at = time.monotonic() + WARNING_INTERVAL_SECONDS
                LOG.error("Too many CADF events wait for the broker; the newest ones are lost. Start the broker.")

    def drain(self, seconds: float) -> None:
        """Wait until all descriptions are handled, at most so many seconds."""
        with self._waiting.all_tasks_done:
            self._waiting.all_tasks_done.wait_for(lambda: not self._waiting.unfinished_tasks, seconds)

    def _run(self) -> None:
        while True:
            self._handle(self._waiting.get())
            self._waiting.task_done()


def _described(environ: dict[str, Any], status: str) -> dict[str, Any]:
    """Return an environment for the filter: the request, its caller as `auth_token` would add it, and its status."""
    host = _readable_host(environ.get("HTTP_HOST", ""))
    base = f"{environ['wsgi.url_scheme']}://{host}"
    urls = dict.fromkeys(("adminURL", "internalURL", "publicURL"), base)
    catalog = [{"type": SERVICE_TYPE, "name": "snapmanage", "endpoints": [{"id": "snapmanage"} | urls]}]
    return {
        **{name: _cut(environ[name]) for name in _PASSED if name in environ},
        **_identity(environ.get(CALLER)),
        "HTTP_HOST": host,
        "SCRIPT_NAME": _readable_path(environ.get("SCRIPT_NAME", "")),
        "PATH_INFO": _readable_path(environ.get("PATH_INFO", "")),
        "HTTP_X_SERVICE_CATALOG": json.dumps(catalog),
        "wsgi.input": io.BytesIO(),
        _STATUS: status,
    }


def _readable_host(host: str) -> str:
    """Return the host of a URL, or `NAME` if the filter would fail to parse it: no request may escape its event."""
    try:
        parts = urlsplit(f"http://{host}")
        return host if parts.hostname and parts.port != 0 and len(host) <= LONGEST_TEXT else NAME
    except ValueError:
        return NAME


def _readable_path(path: str) -> str:
    """Return a path of WSGI that is UTF-8: the filter fails at one that isn't."""
    text = path.encode("latin-1", "replace").decode(errors="replace")
    return text[:LONGEST_TEXT].encode().decode("latin-1")


def _cut(value: Any) -> Any:
    return value[:LONGEST_TEXT] if isinstance(value, str) else value


def _identity(caller: Caller | None) -> dict[str, str]:
    if caller is None:
        return {"HTTP_X_IDENTITY_STATUS": "Invalid"}
    return {
        "HTTP_X_IDENTITY_STATUS": "Confirmed",
        "HTTP_X_USER_ID": caller.requester.user_id or "",
        "HTTP_X_USER_NAME": caller.user_name or "",
        "HTTP_X_PROJECT_ID": caller.requester.project_id,
    }


def _repeat_status(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response(environ[_STATUS], [("Content-Length", "0")])
    return []
