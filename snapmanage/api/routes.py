"""The table of paths and methods, with policy, request schema, answers and first microversion of each.

The application and the OpenAPI document are both made from this table.
"""

from collections.abc import Sequence

from snapmanage.api import parameters, schemas, versions
from snapmanage.api.access import policy
from snapmanage.api.handlers import batches, extensions, manageable, root, snapshots, usermessages, volumes
from snapmanage.api.parameters import Parameter
from snapmanage.api.route import Handler, Operation, Route, Table
from snapmanage.api.versions import MINIMUM, Version


def _get(
    handler: Handler, rule: str | None, answer: str, query: Sequence[Parameter] = (), since: Version = MINIMUM
) -> Route:
    return Route({"GET": Operation(handler, rule, answers={200: answer}, query=query)}, since)


_MANAGE = {
    "GET": Operation(
        manageable.index,
        policy.LIST_MANAGEABLE,
        answers={200: "manageable_snapshots"},
        query=parameters.MANAGEABLE,
    ),
    "POST": Operation(
        snapshots.create,
        policy.MANAGE,
        schemas.MANAGE_SNAPSHOT,
        answers={202: "the_snapshot"},
        keyed=True,
        id_header=snapshots.ID_HEADER,
    ),
}
_MANAGE_BATCH = Operation(
    batches.create, policy.MANAGE, schemas.MANAGE_SNAPSHOTS, answers={207: "outcomes"}, keyed=True, is_batch=True
)
_MANAGE_VOLUME = Operation(
    volumes.create,
    policy.MANAGE_VOLUME,
    schemas.MANAGE_VOLUME,
    answers={202: "the_volume_shown"},
    keyed=True,
    id_header=volumes.ID_HEADER,
)
_ACT = Operation(snapshots.act, policy.UNMANAGE, schemas.UNMANAGE, answers={202: None})
_DETAIL = (manageable.detail, policy.LIST_MANAGEABLE, "manageable_snapshots_shown", parameters.MANAGEABLE)
_SNAPSHOTS = parameters.listing(snapshots.SHAPE, parameters.WITH_COUNT)
_VOLUMES = parameters.listing(volumes.SHAPE, parameters.WITH_COUNT)
_MESSAGES = parameters.listing(usermessages.SHAPE, since=versions.MESSAGE_FILTERS)

# Without authentication and in any version: clients learn from discovery which versions exist.
ROOT: Table = {
    "/": Route({"GET": Operation(root.choices, answers={300: "versions"})}),
    "/v3": _get(root.current, None, "versions"),
    "/v3/openapi.json": _get(root.description(lambda: (ROOT, PROJECT)), None, "document"),
    "/healthcheck": Route({"GET": Operation(root.health, answers={200: "health", 503: "health"})}),
}

# Below /v3/{project_id}, and below /v3 with the project of the token.
PROJECT: Table = {
    "/os-snapshot-manage": Route(_MANAGE),
    "/os-snapshot-manage/detail": _get(*_DETAIL),
    "/os-snapshot-manage/batch": Route({"POST": _MANAGE_BATCH}),
    "/manageable_snapshots": Route(_MANAGE, versions.MANAGEABLE_PATH),
    "/manageable_snapshots/detail": _get(*_DETAIL, versions.MANAGEABLE_PATH),
    "/manageable_snapshots/batch": Route({"POST": _MANAGE_BATCH}, versions.MANAGEABLE_PATH),
    "/snapshots": _get(snapshots.list_summary, policy.GET_SNAPSHOTS, "snapshots", _SNAPSHOTS),
    "/snapshots/detail": _get(snapshots.list_detail, policy.GET_SNAPSHOTS, "snapshots_shown", _SNAPSHOTS),
    "/snapshots/{snapshot_id}": _get(snapshots.show, policy.GET_SNAPSHOT, "the_snapshot_shown"),
    "/snapshots/{snapshot_id}/action": Route({"POST": _ACT}),
    "/snapshots/{snapshot_id}/operation": _get(snapshots.operation, policy.GET_OPERATION, "the_operation"),
    "/os-volume-manage": Route({"POST": _MANAGE_VOLUME}),
    "/manageable_volumes": Route({"POST": _MANAGE_VOLUME}, versions.MANAGEABLE_PATH),
    "/volumes": _get(volumes.list_summary, policy.GET_VOLUMES, "volumes", _VOLUMES),
    "/volumes/detail": _get(volumes.list_detail, policy.GET_VOLUMES, "volumes_shown", _VOLUMES),
    "/volumes/{volume_id}": _get(volumes.show, policy.GET_VOLUME, "the_volume_shown"),
    "/messages": _get(usermessages.index, policy.GET_MESSAGES, "messages", _MESSAGES, versions.MESSAGES),
    "/messages/{message_id}": _get(usermessages.show, policy.GET_MESSAGE, "the_message", since=versions.MESSAGES),
    "/extensions": _get(extensions.index, policy.GET_EXTENSIONS, "extensions"),
    "/extensions/os-snapshot-manage": _get(extensions.show, policy.GET_EXTENSIONS, "the_extension"),
}

# The ends of the paths whose bodies may be larger than others.
BATCHES = tuple(path for path, route in PROJECT.items() if any(each.is_batch for each in route.methods.values()))
