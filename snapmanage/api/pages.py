"""Pages of lists: the entries as JSON, and the link to the next page."""

import json
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlencode

from snapmanage.api.request import Answer, ApiRequest
from snapmanage.api.views import ManageableList
from snapmanage.core.lists.page_text import PageText
from snapmanage.manage.queries import Page

T = TypeVar("T")


def page(request: ApiRequest, name: str, shown: Page[T], view: Callable[[ApiRequest, T], dict[str, Any]]) -> Answer:
    """Return a page of a list as JSON, each entry as `view` shows it, with a link to the next page if there is one."""
    entries = [view(request, each) for each in shown.entries]
    body: dict[str, Any] = {name: entries}
    if entries and shown.has_next:
        body[f"{name}_links"] = next_link(request, entries[-1]["id"])
    return Answer(200, json.dumps(body if shown.total is None else body | {"count": shown.total}).encode())


def manageable_page(request: ApiRequest, kind: ManageableList, entries: list[dict[str, Any]], found: int) -> Answer:
    """Return a page of what a backend holds with a link to the next page.

    With `limit`, each page has a link until a page is empty. Without a link openstacksdk computes the next page from
    the entries' ids, and since these entries have no id, it would start at the first page again.
    """
    body: dict[str, Any] = {kind.name: entries}
    if entries and _is_linked(request, found > len(entries)):
        body[f"{kind.name}_links"] = next_link(request, json.dumps(entries[-1]["reference"], separators=(",", ":")))
    return Answer(200, body)


def written_page(request: ApiRequest, kind: ManageableList, page: PageText) -> Answer:
    """Like `manageable_page`, of a page that the server has written as JSON."""
    text = f'{{"{kind.name}": {page.entries}'
    if page.last and _is_linked(request, page.has_next):
        text += f', "{kind.name}_links": {json.dumps(next_link(request, page.last.text))}'
    return Answer(200, f"{text}}}".encode())


def _is_linked(request: ApiRequest, has_next: bool) -> bool:
    return has_next or "limit" in request.parameters


def next_link(request: ApiRequest, marker: str) -> list[dict[str, str]]:
    """Return the link to the page after `marker`."""
    parameters = {name: value for name, value in request.parameters.items() if name not in ("marker", "offset")}
    query = urlencode(parameters | {"marker": marker})
    return [{"rel": "next", "href": f"{request.http.prefix}{request.http.path}?{query}"}]
