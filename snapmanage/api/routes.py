"""The table of paths and methods, with policy, request schema, answers and first microversion of each.

The application and the OpenAPI document are both made from this table.
"""

from collections.abc import Sequence

from snapmanage.api import parameters, schemas, versions
from snapmanage.api.access import policy
from snapmanage.api.handlers import (
    extensions,
    manageable,
    quotas,
    root,
    services,
    snapshots,
    types,
    usermessages,
    volumes,
)
from snapmanage.api.parameters import Parameter
from snapmanage.api.route import Handler, Operation, Route, Table
from snapmanage.api.versions import MINIMUM, Version


def _get(
    handler: Handler, rule: str | None, answer: str, query: Sequence[Parameter] = (), since: Version = MINIMUM
) -> Route:
    return Route({"GET": Operation(handler, rule, answers={200: answer}, query=query)}, since)


def _put_service(handler: Handler, body: schemas.Schema, answer: str) -> Route:
    return Route({"PUT": Operation(handler, policy.UPDATE_SERVICE, body, answers={200: answer})})


_MANAGE = {
    "GET": Operation(
        manageable.index,
        policy.LIST_MANAGEABLE,
        answers={200: "manageable_snapshots"},
        query=parameters.MANAGEABLE,
    ),
    "POST": Operation(
        snapshots.create, policy.MANAGE, schemas.MANAGE_SNAPSHOT, answers={202: "the_snapshot"}, keyed=True
    ),
}
_MANAGE_VOLUME = {
    "GET": Operation(
        manageable.volume_index,
        policy.LIST_MANAGEABLE_VOLUMES,
        answers={200: "manageable_volumes"},
        query=parameters.MANAGEABLE_VOLUMES,
    ),
    "POST": Operation(
        volumes.create, policy.MANAGE_VOLUME, schemas.MANAGE_VOLUME, answers={202: "the_volume_shown"}, keyed=True
    ),
}
_QUOTA_SET = {
    "GET": Operation(quotas.show, policy.GET_QUOTAS, answers={200: "shown_quota_set"}, query=parameters.QUOTA_USAGE),
    "PUT": Operation(
        quotas.update,
        policy.UPDATE_QUOTAS,
        schemas.QUOTA_SET,
        answers={200: "changed_quota_set"},
        query=parameters.QUOTA_CHECK,
    ),
    "DELETE": Operation(quotas.delete, policy.DELETE_QUOTAS, answers={200: None}),
}
_ACT = Operation(
    snapshots.act,
    body=schemas.SNAPSHOT_ACTION,
    answers={202: None},
    actions={"os-unmanage": policy.UNMANAGE, "retry": policy.RETRY},
)
_ACT_ON_VOLUME = Operation(
    volumes.act,
    body=schemas.VOLUME_ACTION,
    answers={202: None},
    actions={"os-unmanage": policy.UNMANAGE_VOLUME, "retry": policy.RETRY_VOLUME},
)
_DETAIL = (manageable.detail, policy.LIST_MANAGEABLE, "manageable_snapshots_shown", parameters.MANAGEABLE)
_VOLUME_DETAIL = (
    manageable.volume_detail,
    policy.LIST_MANAGEABLE_VOLUMES,
    "manageable_volumes_shown",
    parameters.MANAGEABLE_VOLUMES,
)
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
    "/manageable_snapshots": Route(_MANAGE, versions.MANAGEABLE_PATH),
    "/manageable_snapshots/detail": _get(*_DETAIL, versions.MANAGEABLE_PATH),
    "/snapshots": _get(snapshots.list_summary, policy.GET_SNAPSHOTS, "snapshots", _SNAPSHOTS),
    "/snapshots/detail": _get(snapshots.list_detail, policy.GET_SNAPSHOTS, "snapshots_shown", _SNAPSHOTS),
    "/snapshots/{snapshot_id}": _get(snapshots.show, policy.GET_SNAPSHOT, "the_snapshot_shown"),
    "/snapshots/{snapshot_id}/action": Route({"POST": _ACT}),
    "/snapshots/{snapshot_id}/operation": _get(snapshots.operation, policy.GET_OPERATION, "the_operation"),
    "/os-volume-manage": Route(_MANAGE_VOLUME),
    "/os-volume-manage/detail": _get(*_VOLUME_DETAIL),
    "/manageable_volumes": Route(_MANAGE_VOLUME, versions.MANAGEABLE_PATH),
    "/manageable_volumes/detail": _get(*_VOLUME_DETAIL, versions.MANAGEABLE_PATH),
    "/volumes": _get(volumes.list_summary, policy.GET_VOLUMES, "volumes", _VOLUMES),
    "/volumes/detail": _get(volumes.list_detail, policy.GET_VOLUMES, "volumes_shown", _VOLUMES),
    "/volumes/summary": _get(
        volumes.summary, policy.GET_VOLUMES, "volume_summary", parameters.ALL_PROJECTS, versions.VOLUME_SUMMARY
    ),
    "/volumes/{volume_id}": _get(volumes.show, policy.GET_VOLUME, "the_volume_shown"),
    "/volumes/{volume_id}/action": Route({"POST": _ACT_ON_VOLUME}),
    "/messages": _get(usermessages.index, policy.GET_MESSAGES, "messages", _MESSAGES, versions.MESSAGES),
    "/messages/{message_id}": _get(usermessages.show, policy.GET_MESSAGE, "the_message", since=versions.MESSAGES),
    "/os-services": _get(services.index, policy.GET_SERVICES, "services", parameters.SERVICES),
    "/os-services/enable": _put_service(services.enable, schemas.SERVICE, "changed_service"),
    "/os-services/disable": _put_service(services.disable, schemas.SERVICE, "changed_service"),
    "/os-services/disable-log-reason": _put_service(
        services.disable_with_reason, schemas.SERVICE_WITH_REASON, "disabled_service"
    ),
    "/scheduler-stats/get_pools": _get(services.pools, policy.GET_POOLS, "pools", parameters.POOLS),
    "/os-availability-zone": _get(services.zones, policy.GET_ZONES, "zones"),
    "/limits": _get(quotas.limits, policy.GET_LIMITS, "limits", parameters.LIMITS),
    "/os-quota-sets/{target_project_id}": Route(_QUOTA_SET),
    "/os-quota-sets/{target_project_id}/defaults": _get(quotas.defaults, policy.GET_QUOTAS, "the_quota_set"),
    "/types": _get(types.index, policy.GET_TYPES, "types"),
    "/types/{volume_type_id}": _get(types.show, policy.GET_TYPE, "the_type"),
    "/extensions": _get(extensions.index, policy.GET_EXTENSIONS, "extensions"),
    "/extensions/os-snapshot-manage": _get(extensions.show, policy.GET_EXTENSIONS, "the_extension"),
}

# The paths that exist without the API version too: the links `bookmark` of volumes and messages lead there.
BOOKMARKED = ("/volumes/{volume_id}", "/messages/{message_id}")
