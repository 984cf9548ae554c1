"""Read the manageable snapshots of a backend, page by page."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from snapmanage import errors
from snapmanage.client.api.answers import Refused, next_marker
from snapmanage.client.api.http import Api
from snapmanage.client.selection.found import Found

PATH = "/os-snapshot-manage/detail"
PAGE = 1000


def manageable(api: Api, host: str, filters: Mapping[str, str]) -> Iterator[Found]:
    """Yield the snapshots of a backend, whether they can be managed or not, in the order of their references.

    Raise `Refused` if the service has no such host, or if the list changed between two pages, and `Unavailable` while
    the server of the backend is down or disabled.
    """
    query: dict[str, Any] = {"host": host, "limit": PAGE, "sort": "reference:asc"} | dict(filters)
    while True:
        body = _page(api, host, query)
        entries = body.get("manageable-snapshots", [])
        yield from (Found.of(host, entry) for entry in entries)
        if not entries or not body.get("manageable-snapshots_links"):
            return
        query["marker"] = next_marker(query, json.dumps(entries[-1]["reference"]))


def _page(api: Api, host: str, query: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return api.get(PATH, **query)
    except Refused as error:
        text = f"host {host}: {error}"
        if error.error_code == errors.ServiceDown.code:
            raise errors.Unavailable(f"{text.rstrip('.')}; start or enable the server") from None
        raise Refused(error.status, text, error.error_code) from None


def hosts(api: Api) -> list[str]:
    """Return the hosts that the service lists; raise `InvalidRequest` if it lists none."""
    answer = api.send("GET", "/os-services", query={"binary": "cinder-volume"})
    services = answer.body.get("services", []) if answer.is_success else []
    found = sorted({str(each["host"]) for each in services if each.get("state", "up") == "up"})
    if not found:
        raise errors.InvalidRequest("--host HOST@BACKEND is required, since the service lists no hosts")
    return found
