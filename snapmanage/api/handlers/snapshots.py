"""Handlers of snapshots: manage, show, list, unmanage."""

import logging
import uuid
from typing import Any

from snapmanage import crash, errors
from snapmanage.api import lists, views
from snapmanage.api.request import Answer, ApiRequest, asked_fields, key
from snapmanage.core.logfields import record_fields
from snapmanage.core.records import Snapshot
from snapmanage.crash import Point
from snapmanage.manage import requests
from snapmanage.store import audit, records

LOG = logging.getLogger(__name__)

SHAPE = lists.Shape(
    filters={name: name for name in ("id", "name", "status", "volume_id", "user_id")} | {"display_name": "name"},
    sort_keys={name: name for name in ("id", "name", "status", "created_at", "updated_at", "volume_id", "user_id")}
    | {"display_name": "name", "size": "size_gb", "volume_size": "size_gb", "project_id": "project_id"},
    constants={"availability_zone": None},
    metadata=True,
)


def create(call: ApiRequest) -> Answer:
    """`POST /os-snapshot-manage`: the answer tells that it is asked for; what comes of it shows later."""
    wanted = call.body["snapshot"]
    volume_id = str(uuid.UUID(wanted["volume_id"]))
    asked = Snapshot(volume_id=volume_id, host="", **asked_fields(call, wanted))
    snapshot = requests.request_snapshot(call.app, asked, call.everywhere, key(call, "manage snapshot"))
    crash.at(Point.UNANSWERED)
    LOG.info("Snapshot requested: %s", record_fields(snapshot))
    return Answer(202, {"snapshot": views.snapshot_summary(call, snapshot)})


def show(call: ApiRequest) -> Answer:
    return Answer(200, {"snapshot": views.snapshot_detail(call, _get(call))})


def list_summary(call: ApiRequest) -> Answer:
    return _list(call, views.snapshot_summary)


def list_detail(call: ApiRequest) -> Answer:
    return _list(call, views.snapshot_detail)


def operation(call: ApiRequest) -> Answer:
    """`GET /snapshots/{id}/operation`: how the operation under way fares, or why the last one failed."""
    snapshot = _get(call)
    with call.app.db.read() as conn:
        heard = audit.of_snapshot(conn, snapshot.id)
    return Answer(200, {"operation": views.operation(call, snapshot, heard)})


def act(call: ApiRequest) -> Answer:
    """`POST /snapshots/{id}/action`: `os-unmanage` is the one there is."""
    snapshot = requests.unmanage(call.app, call.path["snapshot_id"], call.requester, call.everywhere)
    crash.at(Point.UNANSWERED)
    LOG.info("Unmanage requested: %s", record_fields(snapshot))
    return Answer(202)


def _get(call: ApiRequest) -> Snapshot:
    with call.app.db.read() as conn:
        snapshot = records.get(conn, Snapshot, call.path["snapshot_id"])
    if snapshot is None or not call.sees(snapshot):
        raise errors.SnapshotNotFound(call.path["snapshot_id"])
    return snapshot


def _list(call: ApiRequest, view: Any) -> Answer:
    page = lists.wanted(call, SHAPE)
    with call.app.db.read() as conn:
        found = records.list_page(conn, Snapshot, lists.one_more(page))
        total = records.count(conn, Snapshot, page) if lists.counted(call) else None
    return views.page(call, "snapshots", [view(call, each) for each in found[: page.limit]], len(found), total)
