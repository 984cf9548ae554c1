"""Handlers of snapshots: manage, show, list, unmanage."""

import uuid
from typing import Any

from snapmanage import errors
from snapmanage.api import schemas, versions, views
from snapmanage.api.call import Answer, Call, asked_fields
from snapmanage.core.records import Snapshot
from snapmanage.manage import requests
from snapmanage.store import auditlog, records

_FILTERS = ("name", "status", "volume_id")


def create(call: Call) -> Answer:
    """`POST /os-snapshot-manage`: the answer tells that it is asked for; what comes of it shows later."""
    wanted = call.body["snapshot"]
    volume_id = str(uuid.UUID(wanted["volume_id"]))
    asked = Snapshot(volume_id=volume_id, host="", **asked_fields(call, wanted))
    snapshot = requests.request_snapshot(call.site, asked, call.everywhere)
    return Answer(202, {"snapshot": views.snapshot_summary(call, snapshot)})


def show(call: Call) -> Answer:
    return Answer(200, {"snapshot": views.snapshot_detail(call, _get(call))})


def list_summary(call: Call) -> Answer:
    return _list(call, views.snapshot_summary)


def list_detail(call: Call) -> Answer:
    return _list(call, views.snapshot_detail)


def operation(call: Call) -> Answer:
    """`GET /snapshots/{id}/operation`: how the operation under way fares, or why the last one failed."""
    snapshot = _get(call)
    with call.site.db.read() as conn:
        heard = auditlog.of_snapshot(conn, snapshot.id)
    return Answer(200, {"operation": views.operation(call, snapshot, heard)})


def act(call: Call) -> Answer:
    """`POST /snapshots/{id}/action`: `os-unmanage` is the one there is."""
    requests.unmanage(call.site, call.path["snapshot_id"], call.requester, call.everywhere)
    return Answer(202)


def _get(call: Call) -> Snapshot:
    with call.site.db.read() as conn:
        snapshot = records.get(conn, Snapshot, call.path["snapshot_id"])
    if snapshot is None or not call.sees(snapshot):
        raise errors.SnapshotNotFound(call.path["snapshot_id"])
    return snapshot


def _list(call: Call, view: Any) -> Answer:
    parameters = call.parameters
    filters = {name: parameters[name] for name in _FILTERS if name in parameters}
    size = schemas.limit(parameters, call.service.limits.page)
    offset = schemas.integer(parameters, "offset", 0, schemas.LARGEST_OFFSET)
    project = call.requester.project_id
    with call.site.db.read() as conn:
        page = records.list_page(conn, Snapshot, project, filters, size + 1, offset, parameters.get("marker"))
        total = records.count(conn, Snapshot, project, filters) if _counted(call) else None
    body: dict[str, Any] = {"snapshots": [view(call, snapshot) for snapshot in page[:size]]}
    if len(page) > size > 0:
        body["snapshots_links"] = views.next_link(call, page[size - 1])
    return Answer(200, body if total is None else body | {"count": total})


def _counted(call: Call) -> bool:
    wanted = call.parameters.get("with_count", "").lower() in ("true", "1")
    return wanted and call.version >= versions.WITH_COUNT
