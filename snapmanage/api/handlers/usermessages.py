"""Handlers of messages: why asynchronous operations failed."""

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


def index(call: ApiRequest) -> Answer:
    """`GET /messages`; filters, order and pages count from their microversion on."""
    page = ListQuery(call.requester.project_id, limit=call.service.limits.page)
    if call.version >= versions.MESSAGE_FILTERS:
        page = lists.wanted(call, SHAPE)
    with call.app.db.read() as conn:
        told = usermessages.list_page(conn, lists.one_more(page))
    return views.page(call, "messages", [views.message(call, each) for each in told[: page.limit]], len(told))


def show(call: ApiRequest) -> Answer:
    with call.app.db.read() as conn:
        told = usermessages.get(conn, None if call.everywhere else call.requester.project_id, call.path["message_id"])
    if told is None:
        raise errors.MessageNotFound(call.path["message_id"])
    return Answer(200, {"message": views.message(call, told)})
