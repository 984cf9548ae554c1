"""Handlers of what could be managed: the snapshots that a backend holds."""

import json
from typing import Any

from snapmanage import errors
from snapmanage.api import schemas, versions, views
from snapmanage.api.call import Answer, Call, find_server, rpc_context
from snapmanage.core import listing
from snapmanage.core import service as heartbeats
from snapmanage.store import services


def index(call: Call) -> Answer:
    """`GET /os-snapshot-manage`."""
    return _manageable(call, detail=False)


def detail(call: Call) -> Answer:
    """`GET /os-snapshot-manage/detail`."""
    return _manageable(call, detail=True)


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
        "offset": schemas.integer(parameters, "offset", 0, schemas.LARGEST_OFFSET),
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
