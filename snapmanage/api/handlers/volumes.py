"""Handlers of volumes: register a volume that exists on a backend, show, list."""

import logging
from typing import Any

from snapmanage import crash
from snapmanage.api import lists, views
from snapmanage.api.request import Answer, ApiRequest, chosen_id, common_fields, find_server, idempotency_key
from snapmanage.core.records import Volume
from snapmanage.core.values.logfields import fields
from snapmanage.crash import Point
from snapmanage.manage import queries, requests

LOG = logging.getLogger(__name__)

# The header by which a client chooses the id of a new volume.
ID_HEADER = "Snapmanage-Volume-Id"
SHAPE = lists.Shape(
    filters={name: name for name in ("id", "name", "status", "user_id")} | {"display_name": "name", "size": "size_gb"},
    sort_keys={name: name for name in ("id", "name", "status", "created_at", "updated_at", "user_id", "host")}
    | {"display_name": "name", "size": "size_gb", "project_id": "project_id"},
    constants={"bootable": "false", "encrypted": "false", "multiattach": "false"}
    | dict.fromkeys(("availability_zone", "group_id", "migration_status")),
    metadata=True,
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


def _list(request: ApiRequest, view: Any) -> Answer:
    with lists.page(request, Volume, SHAPE) as shown:
        return views.page(request, "volumes", shown, view)
