"""CADF events of API requests, made by the audit filter of keystonemiddleware.

The filter expects the caller in the headers that `auth_token` adds in front of it. Here the strategy authenticates a
request inside the application, so the filter gets a request after its answer: with the caller of any strategy, without
tokens and passwords, and with a stub that repeats the answer's status. This module is imported only if an audit map is
configured; it needs the extra `snapmanage[keystone]`.
"""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from snapmanage.api import requestids
from snapmanage.api.access.callers import Caller
from snapmanage.api.access.log import CALLER, Application

LOG = logging.getLogger(__name__)

# The type of the service in the audit map.
SERVICE_TYPE = "block-storage"
# Load balancers call it often, for no user.
UNAUDITED = "/healthcheck"
_STATUS = "snapmanage.status"
# The filter sees nothing else of a request; a client can't add a header that the filter believes.
_PASSED = (
    "REQUEST_METHOD",
    "SCRIPT_NAME",
    "QUERY_STRING",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "REMOTE_ADDR",
    "HTTP_HOST",
    "HTTP_USER_AGENT",
    "wsgi.url_scheme",
    "wsgi.errors",
    "wsgi.version",
    requestids.REQUEST_ID,
    requestids.GLOBAL_REQUEST_ID,
)


class CadfAudit:
    """A WSGI application that passes each answered request, refused ones included, to the audit filter."""

    def __init__(self, application: Application, make_filter: Callable[[Application], Application]) -> None:
        # pycadf warns of each id that is no UUID, and the names of users aren't.
        warnings.filterwarnings("ignore", message="Invalid uuid", module=r"pycadf\.")
        self.application = application
        self._filter = make_filter(_repeat_status)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        statuses: list[str] = []

        def recording(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            statuses.append(status)
            return start_response(status, headers, *error)

        answered = self.application(environ, recording)
        if environ.get("PATH_INFO") != UNAUDITED:
            self._audit(environ, statuses[-1])
        return answered

    def _audit(self, environ: dict[str, Any], status: str) -> None:
        try:
            for _ in self._filter(_described(environ, status), lambda status, headers, *error: None):
                pass
        except Exception:  # the request is answered, perhaps with 202, so its event must not fail it
            LOG.exception("The audit filter failed; the request has no CADF event")


def _described(environ: dict[str, Any], status: str) -> dict[str, Any]:
    """Return an environment for the filter: the request, its caller as `auth_token` would add it, and its status."""
    base = f"{environ['wsgi.url_scheme']}://{environ.get('HTTP_HOST') or environ.get('SERVER_NAME')}"
    urls = dict.fromkeys(("adminURL", "internalURL", "publicURL"), base)
    catalog = [{"type": SERVICE_TYPE, "name": "snapmanage", "endpoints": [{"id": "snapmanage"} | urls]}]
    path = environ.get("PATH_INFO", "").encode("latin-1", "replace").decode(errors="replace")
    return {
        **{name: environ[name] for name in _PASSED if name in environ},
        **_identity(environ.get(CALLER)),
        "PATH_INFO": path.encode().decode("latin-1"),
        "HTTP_X_SERVICE_CATALOG": json.dumps(catalog),
        "wsgi.input": io.BytesIO(),
        _STATUS: status,
    }


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
