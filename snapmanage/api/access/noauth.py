"""The strategy `noauth`: every caller is an administrator; by default only programs on this machine are served.

A browser and a proxy on this machine forward requests of others from a loopback address, so the address alone proves
nothing. A request must also name this machine as its host, come from no foreign page, and carry no trace of a proxy.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import falcon

from snapmanage import errors
from snapmanage.api.access import callers
from snapmanage.api.access.callers import ADMINISTRATOR, Caller

DEFAULT_USER = "admin"
# Headers that a proxy adds, beside X-Forwarded-*. A proxy that adds none can't be recognized.
PROXY_HEADERS = ("HTTP_FORWARDED", "HTTP_VIA", "HTTP_X_REAL_IP")
# The values of Sec-Fetch-Site for a request that no page of another site has made.
_OWN_SITE = ("same-origin", "none")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_REMEDY = "Choose another [api] auth_strategy, or set [api] noauth_anywhere to serve all callers."


@dataclass(frozen=True)
class NoAuth:
    """The strategy: it serves programs on this machine, or every caller with `anywhere`.

    Pages of the `origins` may send requests too.
    """

    origins: frozenset[str] = frozenset()
    anywhere: bool = False

    def __call__(self, request: falcon.Request, project_id: str | None) -> Caller:
        """Accept any token or none; every caller is an administrator of the project in the path.

        A token `USER:PROJECT` names user and project, and must agree with the path. Any other token is ignored and not
        stored, because it may be a secret. Raise `NotPermitted` for a request that may come from elsewhere.
        """
        if not self.anywhere:
            self._require_local(request.env)
        user, colon, project = (request.get_header("X-Auth-Token") or "").partition(":")
        if not colon:
            user = project = ""
        longest = callers.LONGEST_NAME
        if len(user) > longest or len(project) > longest:
            raise errors.InvalidRequest(f"user and project of a token must have at most {longest} characters each")
        return callers.identify(request, project_id, user or DEFAULT_USER, project, ADMINISTRATOR, bound=True)

    def _require_local(self, environ: Mapping[str, Any]) -> None:
        if any(name in PROXY_HEADERS or name.startswith("HTTP_X_FORWARDED_") for name in environ):
            raise _refusal("it refuses requests that a proxy has forwarded (Forwarded, X-Forwarded-*, X-Real-IP, Via).")
        if not _is_loopback(environ.get("REMOTE_ADDR")):
            raise _refusal("it serves only callers on its own machine, by TCP on a loopback address.")
        if not _is_this_machine(_without_port(environ.get("HTTP_HOST", ""))):
            raise _refusal("the header Host must be localhost or a loopback address, such as 127.0.0.1 or [::1].")
        self._require_own_page(environ)

    def _require_own_page(self, environ: Mapping[str, Any]) -> None:
        """Raise `NotPermitted` for a request that a browser sends for a page of another origin, whatever its method."""
        origin = environ.get("HTTP_ORIGIN")
        if origin in self.origins:
            return
        own = (environ["wsgi.url_scheme"], environ.get("HTTP_HOST", ""))
        foreign = origin is not None and _origin(*origin.partition("://")[::2]) != _origin(*own)
        if foreign or environ.get("HTTP_SEC_FETCH_SITE", "none") not in _OWN_SITE:
            raise _refusal(
                "it refuses requests of pages of other origins. Name the page's origin in [cors] allowed_origin if you "
                "trust it with all records.",
                remedy="",
            )


def _refusal(rule: str, remedy: str = _REMEDY) -> errors.NotPermitted:
    return errors.NotPermitted(f"The service has no authentication (auth_strategy noauth), so {rule} {remedy}".strip())


def _is_loopback(address: str | None) -> bool:
    """Return whether a peer has a loopback address; a peer on a UNIX socket has no address."""
    try:
        known = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    return (getattr(known, "ipv4_mapped", None) or known).is_loopback


def _is_this_machine(host: str) -> bool:
    """Return whether a host is `localhost` or a loopback address; no name of a foreign page can have that form."""
    return host == "localhost" or _is_loopback(host[1:-1] if host.startswith("[") else host)


def _without_port(host: str) -> str:
    """Return the host in lower case without its port.

    The port may differ, because a tunnel changes it. A hostile page can choose its port, but not this host.
    """
    name, _, port = host.lower().rpartition(":")
    return name if name and port.isdecimal() else host.lower()


def _origin(scheme: str, host: str) -> tuple[str, str, str]:
    """Return the scheme, the host and the port of an origin."""
    name = _without_port(host)
    return scheme.lower(), name, host[len(name) + 1 :] or _DEFAULT_PORTS.get(scheme.lower(), "")
