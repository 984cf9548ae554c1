"""Handlers of volume types: there is one."""

from typing import Any

from snapmanage import errors
from snapmanage.api import defaults
from snapmanage.api.request import Answer, ApiRequest
from snapmanage.core.values.text import cut


def index(request: ApiRequest) -> Answer:
    return Answer(200, {"volume_types": [_view(request)]})


def show(request: ApiRequest) -> Answer:
    """Handle `GET /types/{volume_type_id}`; the id `default` is the default type."""
    if request.path["volume_type_id"] not in (defaults.TYPE_ID, "default"):
        raise errors.NotFound(
            f"Volume type {cut(request.path['volume_type_id'])} could not be found; the only one is {defaults.TYPE_ID}."
        )
    return Answer(200, {"volume_type": _view(request)})


def _view(request: ApiRequest) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": defaults.TYPE_ID,
        "name": defaults.TYPE_NAME,
        "is_public": True,
        "description": "Default Volume Type",
        "extra_specs": {},
        "os-volume-type-access:is_public": True,
    }
    return view | ({"qos_specs_id": None} if request.is_admin else {})
