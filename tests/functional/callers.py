"""Callers of the tests: a token has the form ROLES@PROJECT, which a fake of keystonemiddleware understands."""

from collections.abc import Iterable
from typing import Any

from snapmanage.api.access.keystone import Application, Keystone
from snapmanage.api.access.tokens import Validations

CHALLENGE = 'Keystone uri="http://keystone.example"'


class FakeMiddleware:
    """A stand-in for keystonemiddleware: removes forged headers, adds those of the caller, and a challenge to a 401."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        for name in [name for name in environ if name.startswith(("HTTP_X_USER", "HTTP_X_PROJECT", "HTTP_X_ROLE"))]:
            del environ[name]
        roles, at, project = environ.get("HTTP_X_AUTH_TOKEN", "").partition("@")
        environ["HTTP_X_IDENTITY_STATUS"] = "Confirmed" if at else "Invalid"
        if "HTTP_X_SERVICE_TOKEN" in environ:
            environ["HTTP_X_SERVICE_IDENTITY_STATUS"] = (
                "Confirmed" if "@" in environ["HTTP_X_SERVICE_TOKEN"] else "Invalid"
            )
        if at:
            environ |= {"HTTP_X_USER_ID": "ann", "HTTP_X_ROLES": roles}
            environ |= {"HTTP_X_PROJECT_ID": project} if project else {}

        def challenging(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            challenge = [("WWW-Authenticate", CHALLENGE)] if status.startswith("401") else []
            return start_response(status, headers + challenge, *error)

        return self._application(environ, challenging)


def by_token() -> Keystone:
    return Keystone(FakeMiddleware, Validations(places=100, seconds=300))


def token(roles: str, project: str) -> dict[str, str]:
    """Return the headers of a caller."""
    return {"X-Auth-Token": f"{roles}@{project}"}
