"""Who calls: each `auth_strategy` turns a request into a `Caller`; here `noauth`, and what all have in common."""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import falcon
from oslo_context import context

from snapmanage import errors
from snapmanage.core.records import Requester

ADMINISTRATOR = ("admin",)
DEFAULT_USER = "admin"
DEFAULT_PROJECT = "admin"
LONGEST_NAME = 255
# Where a WSGI environment keeps the address of who is connected, when a proxy's headers have replaced it.
PEER = "snapmanage.peer"


@dataclass(frozen=True)
class Caller:
    """On whose behalf a request comes, and with which roles.

    One that is `bound` sees the one project of its request, whatever its roles.
    """

    requester: Requester
    roles: tuple[str, ...]
    bound: bool


NOBODY = Caller(Requester(project_id=""), (), bound=True)

# Takes the request and the project in its path, if there is one; `NotAuthenticated`, `NotPermitted`, `InvalidRequest`.
Authenticate = Callable[[falcon.Request, str | None], Caller]


def noauth(request: falcon.Request, project_id: str | None) -> Caller:
    """The same as `noauth_anywhere`, for callers on this machine; `NotPermitted` for all others.

    A foreign WSGI server listens where it likes, so the address it listens on can't be refused instead.
    """
    if not all(_is_near(address) for address in (request.env.get("REMOTE_ADDR"), request.env.get(PEER))):
        raise errors.NotPermitted(
            "There is no authentication (auth_strategy noauth), so only callers on the service's own machine are "
            "served; [api] noauth_anywhere would serve all."
        )
    return noauth_anywhere(request, project_id)


def noauth_anywhere(request: falcon.Request, project_id: str | None) -> Caller:
    """Any token or none will do, and everybody is an administrator of the project in the path.

    `user:project` as a token is honoured, and must agree with the path. Any other says nothing, and
    may be a secret: it is not kept.
    """
    user, colon, project = (request.get_header("X-Auth-Token") or "").partition(":")
    if not colon:
        user = project = ""
    if len(user) > LONGEST_NAME or len(project) > LONGEST_NAME:
        raise errors.InvalidRequest(f"user and project of a token may have {LONGEST_NAME} characters each")
    return identified(request, project_id, user or DEFAULT_USER, project, ADMINISTRATOR, bound=True)


def identified(
    request: falcon.Request,
    project_in_path: str | None,
    user_id: str,
    project_id: str,
    roles: tuple[str, ...],
    bound: bool,
) -> Caller:
    """The caller whose identity is known; `InvalidRequest` where the path names another project.

    `project_id` may be empty where the strategy knows of none: then the path's counts.
    """
    if project_id and project_in_path and project_id != project_in_path:
        raise errors.InvalidRequest(f"Malformed request url: the project {project_in_path} isn't that of the token")
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


def begin(request: falcon.Request) -> str:
    """Give a request its id, under which the log tells of it from now on.

    One that it brings along is the global one.
    """
    made: Any = context.generate_request_id()
    request.context.request_id = str(made)
    inbound = request.get_header("X-Openstack-Request-Id")
    known_form = inbound and re.fullmatch(r"req-[0-9a-fA-F-]{1,64}", inbound)  # any other text could forge log lines
    request.context.global_request_id = inbound if known_form else None
    context.RequestContext(request_id=str(made), global_request_id=request.context.global_request_id)
    return str(made)


def _is_near(address: str | None) -> bool:
    """Whether somebody at that address is on this machine; a server on a UNIX socket names none."""
    if not address:
        return True
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return False
    return (getattr(known, "ipv4_mapped", None) or known).is_loopback
