"""Send requests: repeat the ones that may be repeated, and wait as long as the service says."""

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keystoneauth1 import exceptions as keystone

from snapmanage import errors
from snapmanage.client.api.answers import BUSY, Answer
from snapmanage.core.values.text import readable

VERSION_HEADER = "OpenStack-API-Version"
# Everything that the commands use exists from here on; `with_count` is the newest.
MICROVERSION = "3.45"
# Snapmanage shows its own fields for it; other services ignore the second part.
VERSION = f"volume {MICROVERSION}, snapmanage 1.0"
MOST_SECONDS_BETWEEN = 30.0


class Interrupted(errors.Unavailable):
    """A signal ended the wait for the service."""

    code = "interrupted"


@dataclass(frozen=True)
class Patience:
    """How long a request is repeated while the service is busy or does not answer."""

    seconds: float = 300.0
    first_pause: float = 0.5

    def pauses(self) -> Iterator[float]:
        """Yield the pauses before the repeats, each twice as long as the one before it, for `seconds` in total."""
        until, pause = time.monotonic() + self.seconds, self.first_pause
        while time.monotonic() < until:
            yield pause
            pause = min(2 * pause, MOST_SECONDS_BETWEEN)


class Api:
    """The API of one project. Several threads may use it; `stop` ends their pauses."""

    def __init__(self, adapter: Any, patience: Patience = Patience()) -> None:
        self.stop = threading.Event()
        self._adapter = adapter
        self._patience = patience

    @property
    def endpoint(self) -> str:
        """Return the URL below which the resources of the project are, without a slash at its end."""
        try:
            return str(self._adapter.get_endpoint() or "").rstrip("/")
        except keystone.ClientException as error:
            raise _unavailable(error) from error

    @property
    def project(self) -> str | None:
        """Return the id of the project if the service authenticates the caller."""
        try:
            found = self._adapter.get_project_id()
        except keystone.ClientException as error:
            raise _unavailable(error) from error
        return str(found) if found else None

    def get(self, path: str, /, **query: Any) -> Mapping[str, Any]:
        """Return the body of a successful GET; raise `Refused` for another answer."""
        return self.send("GET", path, query=query).required()

    def send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = True,
    ) -> Answer:
        """Return the answer to a request, after repeats while the service is busy.

        A request without an answer is repeated only if it is `repeatable`. Raise `Unavailable` if the patience ends,
        and `Interrupted` after `stop`.
        """
        given: dict[str, Any] = {"params": query, "headers": {VERSION_HEADER: VERSION} | dict(headers or {})}
        if body is not None:
            given["json"] = body
        for pause in self._patience.pauses():
            answer, error = self._try(method, path, given)
            if answer is not None and answer.status not in BUSY:
                return answer
            if answer is None and not repeatable:
                break
            self._pause((answer.retry_after_seconds if answer else None) or pause)
        raise errors.Unavailable(f"{method} {path}: {answer.message if answer else error}; run the command again")

    def _try(self, method: str, path: str, given: Mapping[str, Any]) -> tuple[Answer | None, errors.Unavailable | None]:
        try:
            # A redirection could take the token to another host.
            response = self._adapter.request(path, method, raise_exc=False, redirect=False, **given)
        except keystone.ConnectFailure as error:
            return None, _unavailable(error)
        except keystone.ClientException as error:
            raise _unavailable(error) from error
        if 300 <= response.status_code < 400:
            raise _unavailable(_redirected(response.headers.get("Location", "another place")))
        return Answer(response.status_code, _object(response), response.headers), None

    def _pause(self, seconds: float) -> None:
        if self.stop.wait(min(seconds, MOST_SECONDS_BETWEEN)):
            raise Interrupted("interrupted while the service was busy")


def _object(response: Any) -> Mapping[str, Any]:
    try:
        value = response.json()
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _redirected(place: str) -> Exception:
    return errors.Unavailable(f"it redirects to {place}, which is not followed; correct the endpoint of the cloud")


def _unavailable(error: Exception) -> errors.Unavailable:
    return errors.Unavailable(f"the service can't be reached: {readable(str(error))}")
