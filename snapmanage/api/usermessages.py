"""Handlers of messages: why asynchronous operations failed."""

from snapmanage import errors
from snapmanage.api import schemas, versions, views
from snapmanage.api.call import Answer, Call
from snapmanage.store import usermessages

# Parameters of the API, and the columns they compare.
_FILTERS = {
    "resource_uuid": "resource_id",
    "resource_type": "resource_type",
    "event_id": "event_id",
    "message_level": "level",
    "request_id": "request_id",
}


def index(call: Call) -> Answer:
    """`GET /messages`; filters and markers count from their microversion on."""
    parameters = call.parameters
    filtering = call.version >= versions.MESSAGE_FILTERS
    filters = {column: parameters[name] for name, column in _FILTERS.items() if filtering and name in parameters}
    size = schemas.limit(parameters, call.service.limits.page)
    offset = schemas.integer(parameters, "offset", 0, schemas.LARGEST_OFFSET)
    marker = parameters.get("marker") if filtering else None
    with call.site.db.read() as conn:
        told = usermessages.list_page(conn, call.requester.project_id, filters, size, offset, marker)
    return Answer(200, {"messages": [views.message(call, each) for each in told]})


def show(call: Call) -> Answer:
    with call.site.db.read() as conn:
        told = usermessages.get(conn, call.requester.project_id, call.path["message_id"])
    if told is None:
        raise errors.MessageNotFound(call.path["message_id"])
    return Answer(200, {"message": views.message(call, told)})
