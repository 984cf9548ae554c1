"""Handlers of manageable snapshots: the snapshots that a backend holds."""

from collections.abc import Mapping
from typing import Any

from snapmanage import errors
from snapmanage.api import bodies, schemas, versions, views
from snapmanage.api.request import Answer, ApiRequest, find_server
from snapmanage.core.lists import manageable, sorting
from snapmanage.core.lists.paging import limit_number
from snapmanage.manage import queries

# The fields of an entry that a page needs.
_FIELDS = frozenset(("reference", "size", "safe_to_manage", "reason_not_safe", "source_reference"))


def index(request: ApiRequest) -> Answer:
    """Handle `GET /os-snapshot-manage`."""
    return _manageable(request, detail=False)


def detail(request: ApiRequest) -> Answer:
    """Handle `GET /os-snapshot-manage/detail`."""
    return _manageable(request, detail=True)


def _manageable(request: ApiRequest, detail: bool) -> Answer:
    server = find_server(request, _host(request)).server
    limit, arguments = _page_arguments(request)
    queries.require_up(request.service.app, server)
    with request.service.listings.admitted(server):
        answer = request.service.bus.call(server, "get_manageable_snapshots", arguments, vars(request.caller.requester))
    found = _entries(server, answer)
    shown = [views.manageable(request, entry, detail) for entry in found[:limit]]
    return views.manageable_page(request, shown, len(found))


def _entries(server: str, answer: object) -> list[dict[str, Any]]:
    """Return the entries in the answer of a server; raise `Unavailable` if it is of another form."""
    if isinstance(answer, list) and all(isinstance(each, dict) and each.keys() >= _FIELDS for each in answer):
        return answer
    raise errors.Unavailable(f"{server} answered in an unknown form; install the snapmanage of this API there")


def _host(request: ApiRequest) -> str:
    """Return the parameter `host` or `cluster`; any server of a cluster may answer."""
    host = request.parameters.get("host")
    cluster = request.parameters.get("cluster") if request.version >= versions.CLUSTERS else None
    if bool(host) == bool(cluster):
        needed = "exactly one of host and cluster" if request.version >= versions.CLUSTERS else "host"
        raise errors.InvalidRequest(f"the query must name {needed}, such as host=HOST@BACKEND")
    named = str(host or cluster)
    limit_number("host" if host else "cluster", "characters", len(named), schemas.LONGEST_HOST)
    return named


def _page_arguments(request: ApiRequest) -> tuple[int, dict[str, Any]]:
    """Return the page size, and the arguments of the RPC: one more entry shows whether there is a next page."""
    parameters = request.parameters
    pairs = schemas.sort(parameters, "reference")
    order = sorting.order([key for key, _ in pairs], [direction for _, direction in pairs])
    limit = schemas.limit(parameters, request.service.limits.page)
    arguments = {
        "marker": _marker(parameters.get("marker")),
        "limit": limit + 1,
        "offset": schemas.integer(parameters, "offset", 0, schemas.LARGEST_OFFSET),
        "sort_keys": [key for key, _ in order],
        "sort_dirs": [direction for _, direction in order],
    }
    filters = _filters(parameters).as_wire()
    return limit, arguments | ({"filters": filters} if filters else {})  # older servers do not know the argument


def _filters(parameters: Mapping[str, str]) -> manageable.Filters:
    """Parse the filters that the Block Storage API does not have."""
    before, after = (parameters.get(name) for name in ("created_before", "created_after"))
    return manageable.Filters(
        name_part=parameters.get("name~", ""),
        volume_id=schemas.uuid(parameters, "volume_id"),
        safe_to_manage=schemas.boolean(parameters, "safe_to_manage"),
        created_before=None if before is None else manageable.moment("created_before", before),
        created_after=None if after is None else manageable.moment("created_after", after),
    )


def _marker(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        marker = bodies.load(text.encode())
    except (UnicodeEncodeError, errors.InvalidRequest):  # its text is about a body
        marker = None
    if not isinstance(marker, dict) or not marker:
        raise errors.InvalidRequest('marker must be the JSON of a reference, such as {"source-name": "NAME"}')
    return marker
