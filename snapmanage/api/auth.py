"""Who calls. Without authentication everybody is an administrator, of the project in the path."""

import re
from typing import Any

import falcon
from oslo_context import context

from snapmanage import errors
from snapmanage.core.records import Requester

DEFAULT_USER = "admin"
DEFAULT_PROJECT = "admin"
LONGEST_NAME = 255


def noauth(request: falcon.Request, project_id: str | None) -> Requester:
    """Any token or none will do; `user:project` is honoured, and must agree with the path.

    Any other token says nothing, and may be a secret: it is not kept. An id that the request brings
    along is kept as the global one.
    """
    user, project = _user_and_project(request.get_header("X-Auth-Token") or "")
    if project and project_id and project != project_id:
        raise errors.InvalidRequest(f"Malformed request url: the project {project_id} isn't that of the token")
    requester = Requester(
        project_id=project_id or project or DEFAULT_PROJECT,
        user_id=user or DEFAULT_USER,
        request_id=request.context.request_id,
        global_request_id=_global_id(request.get_header("X-Openstack-Request-Id")),
    )
    # For the log: oslo.log finds it by thread.
    context.RequestContext(
        user_id=requester.user_id,
        project_id=requester.project_id,
        request_id=requester.request_id,
        global_request_id=requester.global_request_id,
    )
    return requester


def new_request_id() -> str:
    made: Any = context.generate_request_id()
    return str(made)


def _user_and_project(token: str) -> tuple[str, str]:
    user, colon, project = token.partition(":")
    if not colon:
        return "", ""
    if len(user) > LONGEST_NAME or len(project) > LONGEST_NAME:
        raise errors.InvalidRequest(f"user and project of a token may have {LONGEST_NAME} characters each")
    return user, project


def _global_id(inbound: str | None) -> str | None:
    """Only the form that request ids have; anything else could be meant for the log."""
    return inbound if inbound and re.fullmatch(r"req-[0-9a-fA-F-]{1,64}", inbound) else None
