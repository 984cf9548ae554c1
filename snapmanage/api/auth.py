"""Who calls. Without authentication everybody is an administrator, of the project in the path."""

import re

import falcon
from oslo_context import context

from snapmanage import errors
from snapmanage.core.records import Requester

DEFAULT_USER = "admin"
DEFAULT_PROJECT = "admin"


def noauth(request: falcon.Request, project_id: str | None) -> Requester:
    """Any token or none will do; `user:project` is honoured, and must agree with the path.

    The request gets an id of its own; one that came along is kept as the global id.
    """
    user, _, project = (request.get_header("X-Auth-Token") or "").partition(":")
    if project and project_id and project != project_id:
        raise errors.InvalidRequest(f"Malformed request url: the project {project_id} isn't that of the token")
    requester = Requester(
        project_id=project_id or project or DEFAULT_PROJECT,
        user_id=user or DEFAULT_USER,
        request_id=context.generate_request_id(),
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


def _global_id(inbound: str | None) -> str | None:
    """Only the form that request ids have; anything else could be meant for the log."""
    return inbound if inbound and re.fullmatch(r"req-[0-9a-fA-F-]{1,64}", inbound) else None
