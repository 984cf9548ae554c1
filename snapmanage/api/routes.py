"""What there is: paths, methods, who may, what bodies must be, and from which microversion on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from snapmanage.api import extensions, manageable, policy, root, schemas, snapshots, usermessages, versions, volumes
from snapmanage.api.call import Answer, Call
from snapmanage.api.schemas import Schema
from snapmanage.api.versions import MINIMUM, Version

Handler = Callable[[Call], Answer]


@dataclass(frozen=True)
class Operation:
    """A method of a path: whoever `rule` allows may; one without a rule is everybody's, unauthenticated."""

    handler: Handler
    rule: str | None = None
    body: Schema | None = None


@dataclass(frozen=True)
class Route:
    """The operations of a path, by method; below `since` the path isn't there."""

    methods: Mapping[str, Operation]
    since: Version = MINIMUM


def _get(handler: Handler, rule: str, since: Version = MINIMUM) -> Route:
    return Route({"GET": Operation(handler, rule)}, since)


def _post(handler: Handler, rule: str, body: Schema) -> Route:
    return Route({"POST": Operation(handler, rule, body)})


_MANAGE = {
    "GET": Operation(manageable.index, policy.LIST_MANAGEABLE),
    "POST": Operation(snapshots.create, policy.MANAGE, schemas.MANAGE_SNAPSHOT),
}

# Everybody may call these, in any version: discovery is how clients learn which there are.
ROOT = {
    "/": Route({"GET": Operation(root.choices)}),
    "/v3": Route({"GET": Operation(root.current)}),
    "/healthcheck": Route({"GET": Operation(root.health)}),
}

# Under /v3/{project_id}, and under /v3 with the project from the token.
PROJECT = {
    "/os-snapshot-manage": Route(_MANAGE),
    "/os-snapshot-manage/detail": _get(manageable.detail, policy.LIST_MANAGEABLE),
    "/manageable_snapshots": Route(_MANAGE, versions.MANAGEABLE_PATH),
    "/manageable_snapshots/detail": _get(manageable.detail, policy.LIST_MANAGEABLE, versions.MANAGEABLE_PATH),
    "/snapshots": _get(snapshots.list_summary, policy.GET_SNAPSHOTS),
    "/snapshots/detail": _get(snapshots.list_detail, policy.GET_SNAPSHOTS),
    "/snapshots/{snapshot_id}": _get(snapshots.show, policy.GET_SNAPSHOT),
    "/snapshots/{snapshot_id}/action": _post(snapshots.act, policy.UNMANAGE, schemas.UNMANAGE),
    "/snapshots/{snapshot_id}/operation": _get(snapshots.operation, policy.GET_OPERATION),
    "/os-volume-manage": _post(volumes.create, policy.MANAGE_VOLUME, schemas.MANAGE_VOLUME),
    "/volumes/{volume_id}": _get(volumes.show, policy.GET_VOLUME),
    "/messages": _get(usermessages.index, policy.GET_MESSAGES, versions.MESSAGES),
    "/messages/{message_id}": _get(usermessages.show, policy.GET_MESSAGE, versions.MESSAGES),
    "/extensions": _get(extensions.index, policy.GET_EXTENSIONS),
    "/extensions/os-snapshot-manage": _get(extensions.show, policy.GET_EXTENSIONS),
}
