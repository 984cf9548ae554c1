"""The strategy `keystone`: keystonemiddleware checks the caller's token.

The strategy calls the middleware, which does not wrap the application: requests that need no token are answered while
Keystone is away, and every refusal has the form of this API. This module is imported only if the strategy is
configured; it needs the extra `snapmanage[keystone]`.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import falcon
import webob.exc
from keystoneauth1 import exceptions
from keystonemiddleware import auth_token

from snapmanage import certificates, errors
from snapmanage.api.access import callers, tokens
from snapmanage.api.access.callers import Caller
from snapmanage.api.access.clients import client_of
from snapmanage.api.access.tokens import TokenCache, Validations
from snapmanage.certificates import TlsOptions

LOG = logging.getLogger(__name__)
Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

CONFIRMED = "Confirmed"
# keystonemiddleware reads the second one if the first is missing.
TOKENS = ("X-Auth-Token", "X-Storage-Token", "X-Service-Token")
OPTIONS = TlsOptions(
    "[keystone_authtoken] auth_url", "[keystone_authtoken] cafile", "[keystone_authtoken] certfile and keyfile"
)
_AWAY = (
    exceptions.ConnectFailure,
    exceptions.DiscoveryFailure,
    exceptions.RequestTimeout,
    auth_token.ServiceError,
)


class Middleware(auth_token.AuthProtocol):  # type: ignore[misc]  # keystonemiddleware has no annotations
    """keystonemiddleware that raises `Unavailable` while Keystone can't be reached, instead of refusing the token."""

    def fetch_token(self, token: str, **more: Any) -> Any:
        try:
            return super().fetch_token(token, **more)
        except auth_token.InvalidToken as error:
            if isinstance(error.__context__, _AWAY):
                raise _away(error.__context__) from error
            raise
        except (exceptions.ClientException, webob.exc.HTTPServiceUnavailable) as error:
            raise _away(error.__context__ or error) from error


class Keystone:
    """The strategy `keystone`; it raises `NotPermitted` for a token without a project, and `TooManyRequests`."""

    def __init__(
        self,
        middleware: Callable[[Application], Application],
        validations: Validations,
        token_cache: TokenCache | None = None,
    ) -> None:
        self._checked = middleware(_respond)
        self._validations = validations
        self._added = {tokens.CACHE: token_cache} if token_cache else {}

    def __call__(self, request: falcon.Request, project_id: str | None) -> Caller:
        environ = self._validated(request)
        project = environ.get("HTTP_X_PROJECT_ID")
        if not project:
            raise errors.NotPermitted("The token has no project; request a token with project scope.")
        roles = tuple(filter(None, environ.get("HTTP_X_ROLES", "").split(",")))
        user_id, user_name = environ["HTTP_X_USER_ID"], environ.get("HTTP_X_USER_NAME")
        return callers.identify(request, project_id, user_id, project, roles, bound=False, user_name=user_name)

    def _validated(self, request: falcon.Request) -> dict[str, Any]:
        """Return the environment with the headers that the middleware adds for a valid token."""
        environ = request.env | self._added
        answered: dict[str, str] = {}
        given = [request.get_header(name) or "" for name in TOKENS]
        with self._validations.admitted(client_of(request.env.get("REMOTE_ADDR")), *given):
            for _ in self._checked(environ, lambda status, headers, *error: answered.update(headers)):
                pass
            if not _confirmed(environ):
                raise errors.NotAuthenticated(answered["WWW-Authenticate"])
        return environ


def _respond(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer as the application behind the middleware, which adds its challenge to a 401."""
    start_response("200 OK" if _confirmed(environ) else "401 Unauthorized", [("Content-Length", "0")])
    return []


def _confirmed(environ: dict[str, Any]) -> bool:
    """Return whether the user's token is valid, and the service's token if there is one."""
    statuses = environ.get("HTTP_X_IDENTITY_STATUS"), environ.get("HTTP_X_SERVICE_IDENTITY_STATUS", CONFIRMED)
    return statuses == (CONFIRMED, CONFIRMED)


def _away(cause: BaseException) -> errors.Unavailable:
    """Log the cause with its remedy, and return the error for the caller, who can't help it."""
    text = certificates.explain(str(cause), OPTIONS) or str(cause).strip().rstrip(".")
    LOG.warning("Keystone can't be reached, so tokens can't be checked: %s.", " ".join(text.split()))
    return errors.Unavailable("Keystone can't be reached, so tokens can't be checked; try again later.")
