"""Handlers outside any project: version discovery, the API's document, health. They need no authentication."""

from sqlalchemy.exc import SQLAlchemyError

from snapmanage.api import versions
from snapmanage.api.request import Answer, Call


def choices(call: Call) -> Answer:
    return Answer(300, versions.document(call.http.prefix))


def current(call: Call) -> Answer:
    return Answer(200, versions.document(call.http.prefix))


def description(call: Call) -> Answer:
    """`GET /v3/openapi.json`; made when it is first asked for, since it costs a start some time."""
    from snapmanage.api.openapi import document

    return Answer(200, document())


def health(call: Call) -> Answer:
    """200 while the database answers; requests need nothing else."""
    try:
        call.site.db.now()
    except SQLAlchemyError:
        return Answer(503, {"detailed": False, "reasons": [{"reason": "The database doesn't answer."}]})
    return Answer(200, {"detailed": False, "reasons": []})
