"""Handlers of snapshots: manage, list what could be managed, show, list, unmanage."""

import json
import uuid
from typing import Any

from snapmanage import errors
from snapmanage.api import schemas, versions, views
from snapmanage.api.call import Answer, Call, asked_fields, find_server, rpc_context
from snapmanage.core import listing
from snapmanage.core import service as heartbeats
from snapmanage.core.records import Snapshot
from snapmanage.manage import requests
from snapmanage.store import auditlog, records, services

LARGEST_OFFSET = 2**31 - 1
_FILTERS = ("name", "status", "volume_id")


def create(call: Call) -> Answer:
    """`POST /os-snapshot-manage`: the answer tells that it is asked for; what comes of it shows later."""
    schemas.check(call.body, schemas.MANAGE_SNAPSHOT)
    wanted = call.body["snapshot"]
    volume_id = str(uuid.UUID(wanted["volume_id"]))
    asked = Snapshot(volume_id=volume_id, host="", **asked_fields(call, wanted))
    return Answer(202, {"snapshot": views.snapshot_summary(call, requests.request_snapshot(call.site, asked))})


def index(call: Call) -> Answer:
    """`GET /os-snapshot-manage`."""
    return _manageable(call, detail=False)


def detail(call: Call) -> Answer:
    """`GET /os-snapshot-manage/detail`."""
    return _manageable(call, detail=True)


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
    schemas.check(call.body, schemas.UNMANAGE)
    requests.unmanage(call.site, call.path["snapshot_id"], call.requester)
    return Answer(202)


def _get(call: Call) -> Snapshot:
    with call.site.db.read() as conn:
        snapshot = records.get(conn, Snapshot, call.path["snapshot_id"])
    if snapshot is None or snapshot.requester.project_id != call.requester.project_id:
        raise errors.SnapshotNotFound(call.path["snapshot_id"])
    return snapshot


def _list(call: Call, view: Any) -> Answer:
    parameters = call.parameters
    filters = {name: parameters[name] for name in _FILTERS if name in parameters}
    size = schemas.limit(parameters, call.service.limits.page)
    offset = schemas.integer(parameters, "offset", 0, LARGEST_OFFSET)
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


def _manageable(call: Call, detail: bool) -> Answer:
    server = find_server(call, _wanted_host(call)).server
    arguments = _page_arguments(call)
    with call.site.db.read() as conn:
        now = call.site.db.clock(conn)
        known = services.get(conn, server)
        heartbeats.require_up(known, server, now, call.site.rules.service_down)
    entries = call.service.bus.call(server, "get_manageable_snapshots", arguments, rpc_context(call))
    return Answer(200, {"manageable-snapshots": [views.manageable(entry, detail) for entry in entries]})


def _wanted_host(call: Call) -> str:
    host = call.parameters.get("host")
    cluster = call.parameters.get("cluster") if call.version >= versions.CLUSTERS else None
    if bool(host) == bool(cluster):
        wanted = "exactly one of host and cluster" if call.version >= versions.CLUSTERS else "host"
        raise errors.InvalidRequest(f"the query must name {wanted}, such as host=HOST@BACKEND")
    if cluster:
        raise errors.ServiceNotFound(f"of cluster {cluster}")
    return str(host)


def _page_arguments(call: Call) -> dict[str, Any]:
    parameters = call.parameters
    keys, directions = _sort(parameters)
    listing.check_sort(keys, directions)
    return {
        "marker": _marker(parameters.get("marker")),
        "limit": schemas.limit(parameters, call.service.limits.page),
        "offset": schemas.integer(parameters, "offset", 0, LARGEST_OFFSET),
        "sort_keys": keys,
        "sort_dirs": directions,
    }


def _sort(parameters: Any) -> tuple[list[str], list[str]]:
    """`sort=key:dir,…`, or the older `sort_key` and `sort_dir`, not both; directions default to desc."""
    if "sort" not in parameters:
        return [parameters.get("sort_key", "reference")], [parameters.get("sort_dir", "desc")]
    if "sort_key" in parameters or "sort_dir" in parameters:
        raise errors.InvalidRequest("sort can't be combined with sort_key and sort_dir")
    pairs = [part.strip().partition(":") for part in parameters["sort"].split(",")]
    return [key for key, _, _ in pairs], [direction or "desc" for _, _, direction in pairs]


def _marker(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        marker = json.loads(text)
    except (ValueError, RecursionError):
        marker = None
    if not isinstance(marker, dict) or not marker:
        raise errors.InvalidRequest('marker must be the JSON of a reference, such as {"source-name": "NAME"}')
    return marker
