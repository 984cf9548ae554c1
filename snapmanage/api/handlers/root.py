"""Handlers outside any project: version discovery, the API's document, health. They need no authentication."""

import functools
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from snapmanage.api import versions
from snapmanage.api.request import Answer, ApiRequest
from snapmanage.api.route import Handler, Table


def choices(call: ApiRequest) -> Answer:
    return Answer(300, versions.document(call.http.prefix))


def current(call: ApiRequest) -> Answer:
    return Answer(200, versions.document(call.http.prefix))


def description(tables: Callable[[], tuple[Table, Table]]) -> Handler:
    """Make the handler of `GET /v3/openapi.json`; it makes the document at the first call, for that takes some time."""

    @functools.cache
    def document() -> bytes:
        from snapmanage.api import openapi

        return openapi.document(*tables())

    def describe(call: ApiRequest) -> Answer:
        return Answer(200, document())

    return describe


def health(call: ApiRequest) -> Answer:
    """200 while the database answers; requests need nothing else."""
    try:
        call.app.db.now()
    except SQLAlchemyError:
        return Answer(503, {"detailed": False, "reasons": [{"reason": "The database doesn't answer."}]})
    return Answer(200, {"detailed": False, "reasons": []})
