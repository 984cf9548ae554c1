"""Authentication: each `auth_strategy` turns a request into a `Caller`.

This module has the strategy `noauth`, and the function that every strategy ends with.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

import falcon
from oslo_context import context

from snapmanage import errors
from snapmanage.core.records import Requester

ADMINISTRATOR = ("admin",)
DEFAULT_USER = "admin"
DEFAULT_PROJECT = "admin"
LONGEST_NAME = 255
# The key in a WSGI environment for the peer's address, when the headers of a proxy have replaced REMOTE_ADDR.
PEER = "snapmanage.peer"


@dataclass(frozen=True)
class Caller:
    """The authenticated user and project of a request, with its roles.

    A `bound` caller sees only the project of its request, regardless of its roles.
    """

    requester: Requester
    roles: tuple[str, ...]
    bound: bool


NOBODY = Caller(Requester(project_id=""), (), bound=True)

# Takes the request and the project id of its path or None; raises `NotAuthenticated`, `NotPermitted`, `InvalidRequest`.
Authenticate = Callable[[falcon.Request, str | None], Caller]


def noauth(request: falcon.Request, project_id: str | None, anywhere: bool = False) -> Caller:
    """Accept any token or none; every caller is an administrator of the project in the path.

    A token `USER:PROJECT` names user and project, and must agree with the path. Any other token is ignored and not
    stored, because it may be a secret.

    Raise `NotPermitted` for callers on other machines, unless `anywhere` is set. The callers' addresses are checked,
    because another WSGI server may listen on any address.
    """
    addresses = (request.env.get("REMOTE_ADDR"), request.env.get(PEER))
    if not (anywhere or all(_is_local(address) for address in addresses)):
        raise errors.NotPermitted(
            "The service has no authentication (auth_strategy noauth), so it serves only callers on its own machine. "
            "Choose another auth_strategy, or set [api] noauth_anywhere to serve all callers."
        )
    user, colon, project = (request.get_header("X-Auth-Token") or "").partition(":")
    if not colon:
        user = project = ""
    if len(user) > LONGEST_NAME or len(project) > LONGEST_NAME:
        raise errors.InvalidRequest(f"user and project of a token must have at most {LONGEST_NAME} characters each")
    return identify(request, project_id, user or DEFAULT_USER, project, ADMINISTRATOR, bound=True)


def identify(
    request: falcon.Request,
    project_in_path: str | None,
    user_id: str,
    project_id: str,
    roles: tuple[str, ...],
    bound: bool,
) -> Caller:
    """Return the authenticated caller; raise `InvalidRequest` if the path names another project.

    `project_id` is empty if the strategy knows no project: then the project of the path is used.
    """
    if project_id and project_in_path and project_id != project_in_path:
        raise errors.InvalidRequest(f"Malformed request url: project {project_in_path} is not the token's project")
    requester = Requester(
        project_id=project_in_path or project_id or DEFAULT_PROJECT,
        user_id=user_id,
        request_id=request.context.request_id,
        global_request_id=request.context.global_request_id,
    )
    # oslo.log finds this context by the thread, and adds it to each line.
    context.RequestContext(
        user_id=requester.user_id,
        project_id=requester.project_id,
        request_id=requester.request_id,
        global_request_id=requester.global_request_id,
    )
    return Caller(requester, roles, bound)


def _is_local(address: str | None) -> bool:
    """Return whether an address is of this machine; a server on a UNIX socket has no address."""
    if not address:
        return True
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return False
    return (getattr(known, "ipv4_mapped", None) or known).is_loopback
