"""Lists of records: the query parameters that they share (project, filters, order and page), and a page."""

import ast
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from snapmanage import errors
from snapmanage.api import schemas, versions
from snapmanage.api.access import log as access
from snapmanage.api.request import ApiRequest
from snapmanage.core.lists.paging import ListQuery, limit_number
from snapmanage.core.records import Record
from snapmanage.manage import queries
from snapmanage.manage.queries import Page

R = TypeVar("R", bound=Record)

DEFAULT_SORT_KEY = "created_at"
LARGEST_SIZE_GB = 2**63 - 1
# Characters of the filter; parsing 60,000 of them takes as long as a hundred other requests.
LONGEST_METADATA = 8192
# A dictionary of texts as Python prints it. Python's parser would write a line into the log for each odd escape, and
# for each number with a word behind it. The quantifiers are possessive, so that a match takes linear time.
_ESCAPE = r"""\\(?:[\\'"abfnrtv]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})"""
_TEXT = rf"""u?+(?:'(?:[^'\\\n]|{_ESCAPE})*+'|"(?:[^"\\\n]|{_ESCAPE})*+")\s*+"""
_PAIR = rf"{_TEXT}:\s*+{_TEXT}"
_PYTHON = re.compile(rf"\{{\s*+(?:{_PAIR}(?:,\s*+{_PAIR})*+(?:,\s*+)?+)?+\}}")


@dataclass(frozen=True)
class Shape:
    """The filters and sort keys of one kind of record.

    `filters` and `sort_keys` map parameters of the API to columns. `constants` are fields with the same value in all
    records, None where the API shows null: filtering by another value finds nothing, and sorting has no effect.
    """

    filters: Mapping[str, str]
    sort_keys: Mapping[str, str]
    constants: Mapping[str, str | None] = field(default_factory=dict)
    metadata: bool = False


def query(request: ApiRequest, shape: Shape) -> ListQuery:
    """Parse the query of a list; raise `InvalidRequest` that names a malformed parameter."""
    parameters = request.parameters
    return ListQuery(
        project_id=project(request),
        equal=_equal(parameters, shape),
        like=_inexact(request, shape),
        metadata=_metadata(parameters) if shape.metadata else {},
        never=any(name in parameters and parameters[name].lower() != held for name, held in shape.constants.items()),
        sort=_sort(parameters, shape),
        limit=schemas.limit(parameters, request.service.limits.page),
        offset=schemas.integer(parameters, "offset", 0, schemas.LARGEST_OFFSET),
        marker=parameters.get("marker"),
    )


def project(request: ApiRequest) -> str | None:
    """Return the project whose records are listed; None for those of all projects, which `all_tenants` requires."""
    parameters = request.parameters
    if not (request.everywhere and schemas.boolean(parameters, "all_tenants")):
        return request.caller.requester.project_id
    access.note(request.http.env, scope="all_projects")
    return parameters.get("project_id")


@contextmanager
def page(request: ApiRequest, kind: type[R], shape: Shape) -> Iterator[Page[R]]:
    """Yield a page of records once the project may read one more; raise `InvalidRequest` or `SlowList`.

    The page counts until its answer is made: a large one needs much more memory than its records.
    """
    wanted, with_total = query(request, shape), _wants_count(request)
    with request.service.searches.admitted(request.caller.requester.project_id):
        yield queries.list_records(request.service.app, kind, wanted, with_total)


def _wants_count(request: ApiRequest) -> bool:
    """Return whether the answer must have the number of records on all pages."""
    return request.version >= versions.WITH_COUNT and bool(schemas.boolean(request.parameters, "with_count"))


def _equal(parameters: Mapping[str, str], shape: Shape) -> dict[str, str | int]:
    given: dict[str, str | int] = {
        column: parameters[name] for name, column in shape.filters.items() if name in parameters
    }
    if "size_gb" in given:
        given["size_gb"] = schemas.integer(parameters, "size", 0, LARGEST_SIZE_GB)
    return given


def _inexact(request: ApiRequest, shape: Shape) -> dict[str, str]:
    if request.version < versions.INEXACT_FILTERS:
        return {}
    parameters = request.parameters
    texts = {f"{name}~": column for name, column in shape.filters.items() if column != "size_gb"}
    return {column: parameters[name] for name, column in texts.items() if name in parameters}


def _metadata(parameters: Mapping[str, str]) -> dict[str, str]:
    """Parse `metadata={"key": "value"}`; Python clients send it with single quotes."""
    text = parameters.get("metadata")
    if text is None:
        return {}
    limit_number("metadata", "characters", len(text), LONGEST_METADATA)
    try:
        pairs = json.loads(text)
    except (ValueError, RecursionError):
        pairs = _python_dictionary(text.strip())
    if not isinstance(pairs, dict) or not all(isinstance(part, str) for pair in pairs.items() for part in pair):
        raise errors.InvalidRequest('metadata must be an object with string values, such as {"key": "value"}')
    return pairs


def _python_dictionary(text: str) -> object:
    """Return the dictionary of texts, as Python prints it; None for other text."""
    try:
        return ast.literal_eval(text) if _PYTHON.fullmatch(text) else None
    except (ValueError, SyntaxError):  # an escape that names no character
        return None


def _sort(parameters: Mapping[str, str], shape: Shape) -> list[tuple[str, str]]:
    known = [*shape.sort_keys, *shape.constants]
    columns: dict[str, str] = {}
    for key, direction in schemas.sort(parameters, DEFAULT_SORT_KEY):
        schemas.one_of("sort key", key, known)
        schemas.one_of("sort direction", direction, ("asc", "desc"))
        if key in shape.sort_keys:
            columns.setdefault(shape.sort_keys[key], direction)
    return list(columns.items()) or [(DEFAULT_SORT_KEY, "desc")]
