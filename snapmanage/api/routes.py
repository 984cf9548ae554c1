"""What there is: paths, methods, and from which microversion on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from snapmanage.api import root, snapshots, usermessages, versions, volumes
from snapmanage.api.call import Answer, Call
from snapmanage.api.versions import MINIMUM, Version

Handler = Callable[[Call], Answer]


@dataclass(frozen=True)
class Route:
    """The handlers of a path, by method; below `since` the path isn't there."""

    methods: Mapping[str, Handler]
    since: Version = MINIMUM


ROOT = {
    "/": Route({"GET": root.choices}),
    "/v3": Route({"GET": root.current}),
    "/healthcheck": Route({"GET": root.health}),
}

# Under /v3/{project_id}, and under /v3 with the project from the token.
PROJECT = {
    "/os-snapshot-manage": Route({"GET": snapshots.index, "POST": snapshots.create}),
    "/os-snapshot-manage/detail": Route({"GET": snapshots.detail}),
    "/manageable_snapshots": Route({"GET": snapshots.index, "POST": snapshots.create}, versions.MANAGEABLE_PATH),
    "/manageable_snapshots/detail": Route({"GET": snapshots.detail}, versions.MANAGEABLE_PATH),
    "/snapshots": Route({"GET": snapshots.list_summary}),
    "/snapshots/detail": Route({"GET": snapshots.list_detail}),
    "/snapshots/{snapshot_id}": Route({"GET": snapshots.show}),
    "/snapshots/{snapshot_id}/action": Route({"POST": snapshots.act}),
    "/snapshots/{snapshot_id}/operation": Route({"GET": snapshots.operation}),
    "/os-volume-manage": Route({"POST": volumes.create}),
    "/volumes/{volume_id}": Route({"GET": volumes.show}),
    "/messages": Route({"GET": usermessages.index}, versions.MESSAGES),
    "/messages/{message_id}": Route({"GET": usermessages.show}, versions.MESSAGES),
}
