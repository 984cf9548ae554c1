"""Handlers of volumes: register a volume that exists on a backend, show, list, unmanage, retry."""

import logging
from typing import Any

from snapmanage import crash
from snapmanage.api import defaults, lists, pages, versions, views
from snapmanage.api.request import Answer, ApiRequest, chosen_id, common_fields, find_server, idempotency_key
from snapmanage.core.records import Volume
from snapmanage.core.values.logfields import fields
from snapmanage.crash import Point
from snapmanage.manage import queries, removals, requests, retries

LOG = logging.getLogger(__name__)

# The header by which a client chooses the id of a new volume.
ID_HEADER = "Snapmanage-Volume-Id"
SHAPE = lists.Shape(
    filters={name: name for name in ("id", "name", "status", "user_id")} | {"display_name": "name", "size": "size_gb"},
    sort_keys={name: name for name in ("id", "name", "status", "created_at", "updated_at", "user_id", "host")}
    | {"display_name": "name", "size": "size_gb", "project_id": "project_id"},
    constants={"bootable": "false", "encrypted": "false", "multiattach": "false", "consumes_quota": "true"}
    | {"availability_zone": defaults.ZONE, "volume_type_id": defaults.TYPE_ID}
    | dict.fromkeys(("group_id", "migration_status", "glance_metadata", "consistencygroup_id"))
    | dict.fromkeys(("snapshot_id", "source_volid")),
    metadata=True,
    records=True,
)


def create(request: ApiRequest) -> Answer:
    """Handle `POST /os-volume-manage`: the server looks the volume up, and never renames it."""
    resource = request.body["volume"]
    chosen = chosen_id(request, ID_HEADER)
    new = Volume(location=find_server(request, resource["host"]), **common_fields(request, resource, chosen))
    key = idempotency_key(request, "manage volume", chosen)
    volume = requests.register_volume(request.service.app, new, key, bool(chosen))
    crash.at(Point.UNANSWERED)
    LOG.info("Volume requested: %s", fields(volume))
    return Answer(202, {"volume": views.volume_detail(request, volume)})


def list_summary(request: ApiRequest) -> Answer:
    return _list(request, views.volume_summary)


def list_detail(request: ApiRequest) -> Answer:
    return _list(request, views.volume_detail)


def show(request: ApiRequest) -> Answer:
    volume = queries.volume(request.service.app, request.path["volume_id"], request.visible_project)
    return Answer(200, {"volume": views.volume_detail(request, volume)})


def summary(request: ApiRequest) -> Answer:
    """Handle `GET /volumes/summary`: the number and the size of the volumes, from 3.36 their metadata too."""
    project_id, with_metadata = lists.project(request), request.version >= versions.SUMMARY_METADATA
    with request.service.searches.admitted(request.caller.requester.project_id):
        found = queries.volume_summary(request.service.app, project_id, with_metadata)
    shown: dict[str, Any] = {"total_count": found.count, "total_size": found.size_gb}
    return Answer(200, {"volume-summary": shown | ({"metadata": found.metadata} if with_metadata else {})})


def act(request: ApiRequest) -> Answer:
    """Handle `POST /volumes/{id}/action`: `os-unmanage`, which is done at once, and `retry`."""
    act, done = (
        (removals.unmanage_volume, "Volume unmanaged")
        if "os-unmanage" in request.body
        else (retries.retry_volume, "Retry requested")
    )
    volume = act(request.service.app, request.path["volume_id"], request.caller.requester, request.everywhere)
    crash.at(Point.UNANSWERED)
    LOG.info("%s: %s", done, fields(volume))
    return Answer(202)


def _list(request: ApiRequest, view: Any) -> Answer:
    with lists.page(request, Volume, SHAPE) as shown:
        return pages.page(request, "volumes", shown, view)
