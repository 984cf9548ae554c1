"""Handlers without authentication: version discovery, the OpenAPI document, health."""

import functools
from collections.abc import Callable

from snapmanage.api import versions
from snapmanage.api.request import Answer, ApiRequest
from snapmanage.api.route import Handler, Table
from snapmanage.manage import availability


def choices(request: ApiRequest) -> Answer:
    return Answer(300, versions.document(request.http.prefix))


def current(request: ApiRequest) -> Answer:
    return Answer(200, versions.document(request.http.prefix))


def description(tables: Callable[[], tuple[Table, Table]]) -> Handler:
    """Return the handler of `GET /v3/openapi.json`; it builds the document at the first call, which takes a moment."""

    @functools.cache
    def document() -> bytes:
        from snapmanage.api import openapi

        return openapi.document(*tables())

    def describe(request: ApiRequest) -> Answer:
        return Answer(200, document())

    return describe


def health(request: ApiRequest) -> Answer:
    """Handle `GET /healthcheck`: 200 while the database can be reached, which is all that requests need."""
    if not availability.database_reachable(request.service.app):
        return Answer(503, {"detailed": False, "reasons": [{"reason": "The database can't be reached."}]})
    return Answer(200, {"detailed": False, "reasons": []})
