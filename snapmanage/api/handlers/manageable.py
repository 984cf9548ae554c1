"""Handlers of manageable snapshots and volumes: the snapshots and volumes that a backend holds."""

from collections.abc import Collection, Mapping
from typing import Any

from snapmanage import errors
from snapmanage.api import bodies, pages, schemas, versions, views
from snapmanage.api.request import Answer, ApiRequest, find_server
from snapmanage.api.views import MANAGEABLE_SNAPSHOTS, MANAGEABLE_VOLUMES, ManageableList
from snapmanage.core.lists import filters, selectors, sorting
from snapmanage.core.lists.page_text import Fields, PageText
from snapmanage.core.lists.paging import limit_number
from snapmanage.manage import queries

# A part of the text with which a server refuses a call that its release does not know.
_UNKNOWN_CALL = "does not support RPC method"
# A part of the text with which such a server refuses an argument; `own_fields` and `text` are not in the first version.
_UNKNOWN_ARGUMENT = "unexpected keyword argument"


def index(request: ApiRequest) -> Answer:
    """Handle `GET /os-snapshot-manage`."""
    return _manageable(request, MANAGEABLE_SNAPSHOTS, detail=False)


def detail(request: ApiRequest) -> Answer:
    """Handle `GET /os-snapshot-manage/detail`."""
    return _manageable(request, MANAGEABLE_SNAPSHOTS, detail=True)


def volume_index(request: ApiRequest) -> Answer:
    """Handle `GET /os-volume-manage`."""
    return _manageable(request, MANAGEABLE_VOLUMES, detail=False)


def volume_detail(request: ApiRequest) -> Answer:
    """Handle `GET /os-volume-manage/detail`."""
    return _manageable(request, MANAGEABLE_VOLUMES, detail=True)


def _manageable(request: ApiRequest, kind: ManageableList, detail: bool) -> Answer:
    server = find_server(request, _host(request)).server
    limit, arguments = _page_arguments(request, kind)
    queries.require_up(request.service.app, server)
    method = f"get_{kind.name.replace('-', '_')}"
    own = {"own_fields": True} if detail and request.own_fields else {}
    with request.service.listings.admitted(server):
        answer = _answer(
            request,
            server,
            method,
            {**arguments, "limit": limit, "text": _fields(request, detail).value, **own},
            {**arguments, "limit": limit + 1, **own},  # one more entry shows whether there is a next page
            {**arguments, "limit": limit + 1},
        )
    if isinstance(answer, dict):
        return pages.written_page(request, kind, _page_text(server, answer))
    found = _entries(server, kind, answer)
    shown = [views.manageable(request, kind, entry, detail) for entry in found[:limit]]
    return pages.manageable_page(request, kind, shown, len(found))


def _fields(request: ApiRequest, detail: bool) -> Fields:
    """Return the fields that the caller gets."""
    if not detail:
        return Fields.SUMMARY
    return Fields.DETAIL if request.is_admin else Fields.READERS


def _answer(request: ApiRequest, server: str, method: str, *arguments: Mapping[str, Any]) -> object:
    """Return a server's answer to the first of the arguments; each of the others is for an earlier release."""
    *later, earliest = arguments
    for each in later:
        try:
            return _call(request, server, method, each)
        except errors.InvalidRequest as error:
            if _UNKNOWN_ARGUMENT not in str(error):
                raise
    return _call(request, server, method, earliest)


def _call(request: ApiRequest, server: str, method: str, arguments: Mapping[str, Any]) -> object:
    """Return a server's answer; raise `Unavailable` if its release does not know the method or a filter."""
    try:
        return request.service.bus.call(server, method, arguments, vars(request.caller.requester))
    except errors.InvalidRequest as error:
        if _UNKNOWN_CALL in str(error):
            raise errors.Unavailable(
                f"{server} runs an earlier release, which can't answer this; upgrade snapmanage-volume there"
            ) from error
        if str(error).startswith(filters.UNKNOWN_FILTERS):
            used = ", ".join(sorted(arguments.get("filters", {}).keys() & set(selectors.PARAMETERS)))
            raise errors.Unavailable(
                f"{server} runs an earlier release, which doesn't know the filters {used}; upgrade snapmanage-volume "
                "there, or leave these filters out"
            ) from error
        raise


def _entries(server: str, kind: ManageableList, answer: object) -> list[dict[str, Any]]:
    """Return the entries in the answer of a server; raise `Unavailable` if it is of another form."""
    needed = {*kind.summary, "reason_not_safe"}
    if isinstance(answer, list) and all(isinstance(each, dict) and each.keys() >= needed for each in answer):
        return answer
    raise _unknown_form(server)


def _page_text(server: str, answer: Mapping[str, Any]) -> PageText:
    """Return the text of a page in the answer of a server; raise `Unavailable` if it is of another form."""
    try:
        return PageText.of_wire(answer)
    except ValueError as error:
        raise _unknown_form(server) from error


def _unknown_form(server: str) -> errors.Unavailable:
    return errors.Unavailable(f"{server} answered in an unknown form; install the snapmanage of this API there")


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


def _page_arguments(request: ApiRequest, kind: ManageableList) -> tuple[int, dict[str, Any]]:
    """Return the page size, and the other arguments of the RPC."""
    parameters = request.parameters
    pairs = schemas.sort(parameters, "reference")
    order = sorting.order([key for key, _ in pairs], [direction for _, direction in pairs])
    limit = schemas.limit(parameters, request.service.limits.page)
    arguments = {
        "marker": _marker(parameters.get("marker")),
        "offset": schemas.integer(parameters, "offset", 0, schemas.LARGEST_OFFSET),
        "sort_keys": [key for key, _ in order],
        "sort_dirs": [direction for _, direction in order],
    }
    filters = _filters(parameters, kind).as_wire()
    return limit, arguments | ({"filters": filters} if filters else {})  # older servers do not know the argument


def _filters(parameters: Mapping[str, str], kind: ManageableList) -> filters.Filters:
    """Parse the filters that the Block Storage API does not have."""
    before, after = (parameters.get(name) for name in ("created_before", "created_after"))
    of_volumes = kind is MANAGEABLE_VOLUMES
    return filters.Filters(
        name_part=parameters.get("name~", ""),
        volume_id=None if of_volumes else schemas.uuid(parameters, "volume_id"),
        safe_to_manage=schemas.boolean(parameters, "safe_to_manage"),
        created_before=None if before is None else filters.moment("created_before", before),
        created_after=None if after is None else filters.moment("created_after", after),
        selectors=_selectors(parameters, ("name", "min_size", "max_size") if of_volumes else selectors.PARAMETERS),
    )


def _selectors(parameters: Mapping[str, str], known: Collection[str]) -> selectors.Selectors:
    if "name_regex" in parameters:
        raise errors.InvalidRequest("name_regex isn't supported; use name with a glob, such as name=disk-*@daily-????")
    return selectors.Selectors.of({name: _selector(parameters, name) for name in known if name in parameters})


def _selector(parameters: Mapping[str, str], name: str) -> str | int | bool | None:
    match name:
        case "min_size" | "max_size":
            return schemas.integer(parameters, name, 0, selectors.LARGEST_SIZE_GB)
        case "orphans":
            return schemas.boolean(parameters, name)
    return parameters[name]


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
