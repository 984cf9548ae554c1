"""Handlers of snapshots: manage, show, list, unmanage, retry."""

import logging
from typing import Any

from snapmanage import crash
from snapmanage.api import defaults, lists, pages, views
from snapmanage.api.request import Answer, ApiRequest, chosen_id, common_fields, idempotency_key
from snapmanage.core.records import Snapshot
from snapmanage.core.values.ids import parse_uuid
from snapmanage.core.values.location import UNPLACED
from snapmanage.core.values.logfields import fields
from snapmanage.crash import Point
from snapmanage.manage import queries, retries, unmanaging

LOG = logging.getLogger(__name__)

# The header by which a client chooses the id of a new snapshot.
ID_HEADER = "Snapmanage-Snapshot-Id"
# The operation in the digest of a request; an entry of a batch is the same operation.
KEYED_OPERATION = "manage snapshot"
SHAPE = lists.Shape(
    filters={name: name for name in ("id", "name", "status", "volume_id", "user_id")} | {"display_name": "name"},
    sort_keys={name: name for name in ("id", "name", "status", "created_at", "updated_at", "volume_id", "user_id")}
    | {"display_name": "name", "size": "size_gb", "volume_size": "size_gb", "project_id": "project_id"},
    constants={"availability_zone": defaults.ZONE, "group_snapshot_id": None},
    metadata=True,
    records=True,
)


def create(request: ApiRequest) -> Answer:
    """Handle `POST /os-snapshot-manage`: accept the request; the snapshot's status shows the result later."""
    resource = request.body["snapshot"]
    volume_id = parse_uuid("snapshot/volume_id", resource["volume_id"])
    chosen = chosen_id(request, ID_HEADER)
    new = Snapshot(volume_id=volume_id, location=UNPLACED, **common_fields(request, resource, chosen))
    key = idempotency_key(request, KEYED_OPERATION, chosen)
    service = request.service
    snapshot = service.group_commit.request_snapshot(service.app, new, request.everywhere, key, bool(chosen))
    crash.at(Point.UNANSWERED)
    LOG.info("Snapshot requested: %s", fields(snapshot))
    return Answer(202, {"snapshot": views.snapshot_summary(request, snapshot)})


def show(request: ApiRequest) -> Answer:
    return Answer(200, {"snapshot": views.snapshot_detail(request, _get(request))})


def list_summary(request: ApiRequest) -> Answer:
    return _list(request, views.snapshot_summary)


def list_detail(request: ApiRequest) -> Answer:
    return _list(request, views.snapshot_detail)


def operation(request: ApiRequest) -> Answer:
    """Handle `GET /snapshots/{id}/operation`: show the progress of the operation, or why the last one failed."""
    snapshot = _get(request)
    entries = queries.audit_entries(request.service.app, snapshot.id)
    return Answer(200, {"operation": views.operation(request, snapshot, entries)})


def act(request: ApiRequest) -> Answer:
    """Handle `POST /snapshots/{id}/action`: `os-unmanage` and `retry`."""
    act, done = (
        (unmanaging.unmanage, "Unmanage requested")
        if "os-unmanage" in request.body
        else (retries.retry_snapshot, "Retry requested")
    )
    snapshot = act(request.service.app, request.path["snapshot_id"], request.caller.requester, request.everywhere)
    crash.at(Point.UNANSWERED)
    LOG.info("%s: %s", done, fields(snapshot))
    return Answer(202)


def _get(request: ApiRequest) -> Snapshot:
    return queries.snapshot(request.service.app, request.path["snapshot_id"], request.visible_project)


def _list(request: ApiRequest, view: Any) -> Answer:
    with lists.page(request, Snapshot, SHAPE) as shown:
        return pages.page(request, "snapshots", shown, view)
