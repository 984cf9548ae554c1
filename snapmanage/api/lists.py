"""The parameters that lists of records share: whose, which, in which order, from where on."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from snapmanage import errors
from snapmanage.api import schemas, versions
from snapmanage.api.request import ApiRequest
from snapmanage.core.paging import ListQuery

DEFAULT_SORT_KEY = "created_at"
LARGEST_SIZE_GB = 2**63 - 1


@dataclass(frozen=True)
class Shape:
    """What a kind of list can do.

    `filters` and `sort_keys` map parameters of the API to columns. `constants` is what all have in
    common, None where the API shows null: another value finds nothing, and they sort nothing.
    """

    filters: Mapping[str, str]
    sort_keys: Mapping[str, str]
    constants: Mapping[str, str | None] = field(default_factory=dict)
    metadata: bool = False


def wanted(call: ApiRequest, shape: Shape) -> ListQuery:
    """The page that a request wants; `InvalidRequest` names the parameter that can't be meant."""
    parameters = call.parameters
    return ListQuery(
        project_id=_project(call),
        equal=_equal(parameters, shape),
        like=_inexact(call, shape),
        metadata=_metadata(parameters) if shape.metadata else {},
        never=any(name in parameters and parameters[name].lower() != held for name, held in shape.constants.items()),
        sort=_sort(parameters, shape),
        limit=schemas.limit(parameters, call.service.limits.page),
        offset=schemas.integer(parameters, "offset", 0, schemas.LARGEST_OFFSET),
        marker=parameters.get("marker"),
    )


def one_more(page: ListQuery) -> ListQuery:
    """One entry beyond the page tells whether there is a next one."""
    return replace(page, limit=page.limit + 1)


def counted(call: ApiRequest) -> bool:
    """Whether the answer shall say how many there are on all pages."""
    return call.version >= versions.WITH_COUNT and bool(schemas.boolean(call.parameters, "with_count"))


def _project(call: ApiRequest) -> str | None:
    """The caller's project; another or all where the caller sees them, as the Block Storage API does it."""
    if call.everywhere and schemas.boolean(call.parameters, "all_tenants"):
        return call.parameters.get("project_id")
    return call.requester.project_id


def _equal(parameters: Mapping[str, str], shape: Shape) -> dict[str, str | int]:
    given: dict[str, str | int] = {
        column: parameters[name] for name, column in shape.filters.items() if name in parameters
    }
    if "size_gb" in given:
        given["size_gb"] = schemas.integer(parameters, "size", 0, LARGEST_SIZE_GB)
    return given


def _inexact(call: ApiRequest, shape: Shape) -> dict[str, str]:
    if call.version < versions.INEXACT_FILTERS:
        return {}
    parameters = call.parameters
    texts = {f"{name}~": column for name, column in shape.filters.items() if column != "size_gb"}
    return {column: parameters[name] for name, column in texts.items() if name in parameters}


def _metadata(parameters: Mapping[str, str]) -> dict[str, str]:
    """`metadata={"key": "value"}`; clients written in Python send it with Python's quotes."""
    text = parameters.get("metadata")
    if text is None:
        return {}
    try:
        pairs = ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        pairs = None
    if not isinstance(pairs, dict) or not all(isinstance(part, str) for pair in pairs.items() for part in pair):
        raise errors.InvalidRequest('metadata must be an object of texts, such as {"key": "value"}')
    return pairs


def _sort(parameters: Mapping[str, str], shape: Shape) -> list[tuple[str, str]]:
    known = [*shape.sort_keys, *shape.constants]
    columns: dict[str, str] = {}
    for key, direction in schemas.sort(parameters, DEFAULT_SORT_KEY):
        schemas.one_of("sort key", key, known)
        schemas.one_of("sort direction", direction, ("asc", "desc"))
        if key in shape.sort_keys:
            columns.setdefault(shape.sort_keys[key], direction)
    return list(columns.items()) or [(DEFAULT_SORT_KEY, "desc")]
