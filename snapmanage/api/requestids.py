"""The ids of a request: they are in its answer, its log lines, its records and its events."""

import re
from typing import Any

from oslo_context import context

HEADER = "X-Openstack-Request-Id"
# The keys of oslo.middleware in a WSGI environment; keystonemiddleware's audit filter reads them.
REQUEST_ID = "openstack.request_id"
GLOBAL_REQUEST_ID = "openstack.global_request_id"

_INBOUND = re.compile(r"req-[0-9a-fA-F-]{1,64}")  # other text could forge log lines


def assign(environ: dict[str, Any]) -> tuple[str, str | None]:
    """Return the request's id and its global id, given at the first call; oslo.log adds them to the thread's lines.

    The id that the client sent becomes the global request id.
    """
    if REQUEST_ID not in environ:
        inbound = environ.get("HTTP_X_OPENSTACK_REQUEST_ID", "")
        environ[REQUEST_ID] = str(context.generate_request_id())
        environ[GLOBAL_REQUEST_ID] = inbound if _INBOUND.fullmatch(inbound) else None
        context.RequestContext(request_id=environ[REQUEST_ID], global_request_id=environ[GLOBAL_REQUEST_ID])
    return environ[REQUEST_ID], environ[GLOBAL_REQUEST_ID]
