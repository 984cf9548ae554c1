"""Handlers of volumes: register one that exists on a backend, show, list."""

import logging
from typing import Any

from snapmanage import crash, errors
from snapmanage.api import lists, views
from snapmanage.api.request import Answer, ApiRequest, asked_fields, find_server, key
from snapmanage.core.logfields import record_fields
from snapmanage.core.records import Volume
from snapmanage.crash import Point
from snapmanage.manage import requests
from snapmanage.store import records

LOG = logging.getLogger(__name__)

SHAPE = lists.Shape(
    filters={name: name for name in ("id", "name", "status", "user_id")} | {"display_name": "name", "size": "size_gb"},
    sort_keys={name: name for name in ("id", "name", "status", "created_at", "updated_at", "user_id", "host")}
    | {"display_name": "name", "size": "size_gb", "project_id": "project_id"},
    constants={"bootable": "false", "encrypted": "false", "multiattach": "false"}
    | dict.fromkeys(("availability_zone", "group_id", "migration_status")),
    metadata=True,
)


def create(call: ApiRequest) -> Answer:
    """`POST /os-volume-manage`: its server looks the volume up, and never renames it."""
    wanted = call.body["volume"]
    asked = Volume(host=str(find_server(call, wanted["host"])), **asked_fields(call, wanted))
    volume = requests.register_volume(call.app, asked, key(call, "manage volume"))
    crash.at(Point.UNANSWERED)
    LOG.info("Volume requested: %s", record_fields(volume))
    return Answer(202, {"volume": views.volume_detail(call, volume)})


def list_summary(call: ApiRequest) -> Answer:
    return _list(call, views.volume_summary)


def list_detail(call: ApiRequest) -> Answer:
    return _list(call, views.volume_detail)


def show(call: ApiRequest) -> Answer:
    volume_id = call.path["volume_id"]
    with call.app.db.read() as conn:
        volume = records.get(conn, Volume, volume_id)
    if volume is None or not call.sees(volume):
        raise errors.VolumeNotFound(volume_id)
    return Answer(200, {"volume": views.volume_detail(call, volume)})


def _list(call: ApiRequest, view: Any) -> Answer:
    page = lists.wanted(call, SHAPE)
    with call.app.db.read() as conn:
        found = records.list_page(conn, Volume, lists.one_more(page))
        total = records.count(conn, Volume, page) if lists.counted(call) else None
    return views.page(call, "volumes", [view(call, each) for each in found[: page.limit]], len(found), total)
