"""Callers who bring a token of Keystone, which keystonemiddleware checks.

The middleware is asked by the strategy, and does not stand before the application: what needs no
token is answered whatever Keystone does, and every refusal has our shape. Only who chose this
strategy imports this module; it needs the extra `snapmanage[keystone]`.
"""

from collections.abc import Callable, Iterable
from typing import Any

import falcon
import webob.exc
from keystoneauth1 import exceptions
from keystonemiddleware import auth_token

from snapmanage import errors
from snapmanage.api.access import callers
from snapmanage.api.access.callers import Caller

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

CONFIRMED = "Confirmed"
_AWAY = (
    exceptions.ConnectFailure,
    exceptions.DiscoveryFailure,
    exceptions.RequestTimeout,
    auth_token.ServiceError,
)


class Middleware(auth_token.AuthProtocol):
    """The stock middleware, but for a Keystone that doesn't answer: `Unavailable`, where it would blame the token."""

    def fetch_token(self, token: str, **more: Any) -> Any:
        try:
            return super().fetch_token(token, **more)
        except auth_token.InvalidToken as error:
            if isinstance(error.__context__, _AWAY):
                raise _away() from error
            raise
        except (exceptions.ClientException, webob.exc.HTTPServiceUnavailable) as error:
            raise _away() from error


class Keystone:
    """The strategy `keystone`: `NotPermitted` for a token that is for no project."""

    def __init__(self, middleware: Callable[[Application], Application]) -> None:
        self._checked = middleware(_judge)

    def __call__(self, request: falcon.Request, project_id: str | None) -> Caller:
        environ = dict(request.env)
        said: dict[str, str] = {}
        for _ in self._checked(environ, lambda status, headers, *error: said.update(headers)):
            pass
        if not _confirmed(environ):
            raise errors.NotAuthenticated(said["WWW-Authenticate"])
        project = environ.get("HTTP_X_PROJECT_ID")
        if not project:
            raise errors.NotPermitted("The token is for no project; ask for one with the scope of a project.")
        roles = tuple(filter(None, environ.get("HTTP_X_ROLES", "").split(",")))
        return callers.identified(request, project_id, environ["HTTP_X_USER_ID"], project, roles, bound=False)


def _judge(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """What stands behind the middleware: it adds its challenge to a 401."""
    start_response("200 OK" if _confirmed(environ) else "401 Unauthorized", [("Content-Length", "0")])
    return []


def _confirmed(environ: dict[str, Any]) -> bool:
    """Whether the token is good, and that of the service which sent it along, if one did."""
    statuses = environ.get("HTTP_X_IDENTITY_STATUS"), environ.get("HTTP_X_SERVICE_IDENTITY_STATUS", CONFIRMED)
    return statuses == (CONFIRMED, CONFIRMED)


def _away() -> errors.Unavailable:
    return errors.Unavailable(
        "Keystone doesn't answer at the moment, so that no token can be checked; try again later."
    )
