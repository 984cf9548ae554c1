"""Authentication: each `auth_strategy` turns a request into a `Caller`, by the function at the end of this module."""

from collections.abc import Callable
from dataclasses import dataclass

import falcon
from oslo_context import context

from snapmanage import errors
from snapmanage.core.records import Requester

ADMINISTRATOR = ("admin",)
DEFAULT_PROJECT = "admin"
LONGEST_NAME = 255


@dataclass(frozen=True)
class Caller:
    """The authenticated user and project of a request, with its roles.

    A `bound` caller sees only the project of its request, regardless of its roles.
    """

    requester: Requester
    roles: tuple[str, ...]
    bound: bool
    user_name: str | None = None


NOBODY = Caller(Requester(project_id=""), (), bound=True)

# Takes the request and the project id of its path or None; raises `NotAuthenticated`, `NotPermitted`, `InvalidRequest`.
Authenticate = Callable[[falcon.Request, str | None], Caller]


def checks_at_once(threads: int) -> int:
    """Return the number of threads that may check credentials at the same time; the others serve known callers."""
    return max(1, threads * 3 // 4)


def identify(
    request: falcon.Request,
    project_in_path: str | None,
    user_id: str,
    project_id: str,
    roles: tuple[str, ...],
    bound: bool,
    user_name: str | None = None,
) -> Caller:
    """Return the authenticated caller; raise `InvalidRequest` if the path names another project.

    `project_id` is empty if the strategy knows no project: then the project of the path is used. `user_name` is None if
    the user's id is the name.
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
    return Caller(requester, roles, bound, user_name or user_id)
