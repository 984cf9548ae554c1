"""Handlers of user messages: the reasons of failed operations."""

from snapmanage import errors
from snapmanage.api import lists, versions, views
from snapmanage.api.request import Answer, ApiRequest
from snapmanage.core.paging import ListQuery
from snapmanage.store import usermessages

_COLUMNS = {
    "event_id": "event_id",
    "message_level": "level",
    "request_id": "request_id",
    "resource_type": "resource_type",
    "resource_uuid": "resource_id",
}
SHAPE = lists.Shape(
    filters=_COLUMNS, sort_keys=_COLUMNS | {"id": "id", "created_at": "created_at", "guaranteed_until": "created_at"}
)


def index(request: ApiRequest) -> Answer:
    """Handle `GET /messages`; filters, order and pages are ignored below their microversion."""
    page = ListQuery(request.requester.project_id, limit=request.service.limits.page)
    if request.version >= versions.MESSAGE_FILTERS:
        page = lists.query(request, SHAPE)
    with request.app.db.read() as conn:
        found = usermessages.list_page(conn, lists.with_next(page))
    return views.page(request, "messages", [views.message(request, each) for each in found[: page.limit]], len(found))


def show(request: ApiRequest) -> Answer:
    with request.app.db.read() as conn:
        found = usermessages.get(
            conn, None if request.everywhere else request.requester.project_id, request.path["message_id"]
        )
    if found is None:
        raise errors.MessageNotFound(request.path["message_id"])
    return Answer(200, {"message": views.message(request, found)})
