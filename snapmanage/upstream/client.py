"""The REST API of the upstream, with the credentials of an auth plugin of keystoneauth.

Redirections are not followed, since they could take the token to another host. The size of each answer is limited, and
so is the time of each request.
"""

import json
import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import requests
from keystoneauth1.exceptions import ClientException
from keystoneauth1.session import Session
from requests.adapters import HTTPAdapter

from snapmanage import certificates, errors
from snapmanage.core.upstream import Answer, Report
from snapmanage.core.values.text import readable
from snapmanage.drivers.system.deadline import BoundedCalls

# Bytes. A snapshot with the largest metadata of the reference has less.
LARGEST_ANSWER = 256 * 1024
# Seconds for which an answer may delay the next attempt.
LONGEST_RETRY_AFTER = 3600.0
TLS = certificates.TlsOptions("[upstream] endpoint", "[upstream] cafile", "[upstream] certfile")


class UpstreamClient:
    """The upstream at `endpoint`, such as `https://cinder.example.org:8776/v3`.

    Without `authenticated`, requests have the header that a Cinder with `auth_strategy = noauth` expects.
    """

    def __init__(self, endpoint: str, session: Session, authenticated: bool, timeout_seconds: float) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._session = session
        self._authenticated = authenticated
        self._timeout = timeout_seconds
        self._calls = BoundedCalls()

    def update(self, report: Report) -> Answer:
        """Give a snapshot that waits for its first outcome the status of the report; raise `Unavailable`."""
        progress = {"progress": "100%"} if report.status == "available" else {}
        return self._act(report, {"os-update_snapshot_status": {"status": report.status} | progress})

    def reset(self, report: Report) -> Answer:
        """Give any snapshot the status of the report; raise `Unavailable`."""
        return self._act(report, {"os-reset_status": {"status": report.status}})

    def look(self, report: Report) -> Answer:
        """Return the answer that shows the snapshot; raise `Unavailable`."""
        return self._request(report, "GET", "")

    def _act(self, report: Report, body: Mapping[str, Any]) -> Answer:
        return self._request(report, "POST", "/action", body)

    def _request(self, report: Report, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        try:
            return self._calls.within(
                self._timeout, "the request to the upstream API", lambda: self._send(report, method, path, body)
            )
        except (errors.BackendError, ClientException, requests.RequestException, OSError) as error:
            raise errors.Unavailable(readable(certificates.explain(str(error), TLS) or str(error))) from error

    def _send(self, report: Report, method: str, path: str, body: Mapping[str, Any] | None) -> Answer:
        project = report.project_id
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if self._authenticated:
            project = self._session.get_project_id() or project
        else:
            headers["X-Auth-Token"] = f"snapmanage:{project}"
        answer = self._session.request(
            f"{self._endpoint}/{quote(project, safe='')}/snapshots/{report.snapshot_id}{path}",
            method,
            json=body,
            headers=headers,
            authenticated=self._authenticated,
            user_agent="snapmanage",
            redirect=False,
            raise_exc=False,
            log=False,
        )
        return Answer(answer.status_code, _json(answer.content), _retry_after(answer.headers.get("Retry-After")))


class BoundedAdapter(HTTPAdapter):
    """An adapter that reads a whole answer itself, up to `LARGEST_ANSWER`; raise `RequestException` beyond it."""

    def send(self, request: Any, stream: bool = False, *arguments: Any, **options: Any) -> requests.Response:
        response = super().send(request, True, *arguments, **options)
        body = bytearray()
        for part in response.iter_content(16 * 1024):
            body += part
            if len(body) > LARGEST_ANSWER:
                response.close()
                raise requests.RequestException(f"the answer of {request.url} has more than {LARGEST_ANSWER} bytes")
        response._content = bytes(body)  # noqa: SLF001 - requests has no other way to set it
        return response


def http_session(connections: int) -> requests.Session:
    """Return a session for both Keystone and the upstream, which ignores proxies and passwords of the environment."""
    made = requests.Session()
    made.trust_env = False
    for scheme in ("http://", "https://"):
        made.mount(scheme, BoundedAdapter(pool_maxsize=connections))
    return made


def _json(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        return body[:500].decode(errors="replace")


def _retry_after(value: str | None) -> float | None:
    """Return the seconds of `Retry-After`, up to `LONGEST_RETRY_AFTER`; None for a date, as for no value."""
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER) if math.isfinite(seconds) else None
