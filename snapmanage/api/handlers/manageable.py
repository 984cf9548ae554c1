"""Handlers of what could be managed: the snapshots that a backend holds."""

import json
from collections.abc import Mapping
from typing import Any

from snapmanage import errors
from snapmanage.api import schemas, versions, views
from snapmanage.api.request import Answer, ApiRequest, find_server, rpc_context
from snapmanage.core import manageable
from snapmanage.core import services as heartbeats
from snapmanage.store import services


def index(call: ApiRequest) -> Answer:
    """`GET /os-snapshot-manage`."""
    return _manageable(call, detail=False)


def detail(call: ApiRequest) -> Answer:
    """`GET /os-snapshot-manage/detail`."""
    return _manageable(call, detail=True)


def _manageable(call: ApiRequest, detail: bool) -> Answer:
    server = find_server(call, _wanted_host(call)).server
    limit, arguments = _page_arguments(call)
    with call.app.db.read() as conn:
        now = call.app.db.clock(conn)
        known = services.get(conn, server)
        heartbeats.require_up(known, server, now, call.app.rules.service_down)
    found = call.service.bus.call(server, "get_manageable_snapshots", arguments, rpc_context(call))
    shown = [views.manageable(entry, detail) for entry in found[:limit]]
    return views.manageable_page(call, shown, len(found))


def _wanted_host(call: ApiRequest) -> str:
    """The server that is asked. A cluster is one as well, which several machines are; any of them answers."""
    host = call.parameters.get("host")
    cluster = call.parameters.get("cluster") if call.version >= versions.CLUSTERS else None
    if bool(host) == bool(cluster):
        wanted = "exactly one of host and cluster" if call.version >= versions.CLUSTERS else "host"
        raise errors.InvalidRequest(f"the query must name {wanted}, such as host=HOST@BACKEND")
    return str(host or cluster)


def _page_arguments(call: ApiRequest) -> tuple[int, dict[str, Any]]:
    """The page's size, and what the server is asked for: one entry more tells whether there is a next page."""
    parameters = call.parameters
    pairs = schemas.sort(parameters, "reference")
    keys, directions = [key for key, _ in pairs], [direction for _, direction in pairs]
    manageable.check_sort(keys, directions)
    limit = schemas.limit(parameters, call.service.limits.page)
    arguments = {
        "marker": _marker(parameters.get("marker")),
        "limit": limit + 1,
        "offset": schemas.integer(parameters, "offset", 0, schemas.LARGEST_OFFSET),
        "sort_keys": keys,
        "sort_dirs": directions,
    }
    filters = _filters(parameters).as_wire()
    return limit, arguments | ({"filters": filters} if filters else {})  # older servers don't know them


def _filters(parameters: Mapping[str, str]) -> manageable.Filters:
    """What the list goes beyond the reference with."""
    before, after = (parameters.get(name) for name in ("created_before", "created_after"))
    return manageable.Filters(
        name_part=parameters.get("name~", ""),
        volume_id=schemas.uuid_text(parameters, "volume_id"),
        safe_to_manage=schemas.boolean(parameters, "safe_to_manage"),
        created_before=None if before is None else manageable.moment("created_before", before),
        created_after=None if after is None else manageable.moment("created_after", after),
    )


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
