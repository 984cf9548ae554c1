"""Handlers of user messages: the reasons of failed operations."""

from snapmanage.api import lists, pages, versions, views
from snapmanage.api.request import Answer, ApiRequest
from snapmanage.core.lists.paging import ListQuery
from snapmanage.manage import queries

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
    query = ListQuery(request.caller.requester.project_id, limit=request.service.limits.page)
    if request.version >= versions.MESSAGE_FILTERS:
        query = lists.query(request, SHAPE)
    with request.service.searches.admitted(request.caller.requester.project_id):
        shown = queries.list_user_messages(request.service.app, query)
        return pages.page(request, "messages", shown, views.message)


def show(request: ApiRequest) -> Answer:
    found = queries.user_message(request.service.app, request.path["message_id"], request.visible_project)
    return Answer(200, {"message": views.message(request, found)})
