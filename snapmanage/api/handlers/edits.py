"""Handlers of edits, for snapshots and volumes alike: name, description and metadata; and the refusal to delete."""

import logging
from dataclasses import replace
from typing import Any

from snapmanage import crash, errors
from snapmanage.api import versions, views
from snapmanage.api.request import Answer, ApiRequest
from snapmanage.core import edits
from snapmanage.core.edits import Edit
from snapmanage.core.records import Record, Snapshot, Volume
from snapmanage.core.values.logfields import fields
from snapmanage.crash import Point
from snapmanage.manage import edits as use_cases
from snapmanage.manage import queries

LOG = logging.getLogger(__name__)


def update_snapshot(request: ApiRequest) -> Answer:
    """Handle `PUT /snapshots/{snapshot_id}`."""
    snapshot = _edit(request, Snapshot, Edit(texts=_texts(request.body["snapshot"])))
    return Answer(200, {"snapshot": views.snapshot_edited(request, snapshot)})


def update_volume(request: ApiRequest) -> Answer:
    """Handle `PUT /volumes/{volume_id}`; like the Block Storage API it accepts an empty edit below 3.53."""
    resource = request.body["volume"]
    if not resource and request.version >= versions.VOLUME_EDIT_NOT_EMPTY:
        raise errors.InvalidRequest("Invalid input for field/attribute volume. It must name at least one field.")
    volume = _edit(request, Volume, Edit(texts=_texts(resource), metadata=resource.get("metadata")))
    return Answer(200, {"volume": views.volume_edited(request, volume)})


def list_metadata(request: ApiRequest) -> Answer:
    return Answer(200, {"metadata": dict(_get(request).metadata)})


def show_metadata(request: ApiRequest) -> Answer:
    return Answer(200, {"meta": edits.pair(_get(request), request.path["key"])})


def add_metadata(request: ApiRequest) -> Answer:
    """Handle `POST …/metadata`: add and change pairs; the others stay."""
    return _all_metadata(request, Edit(added=request.body["metadata"]))


def replace_metadata(request: ApiRequest) -> Answer:
    """Handle `PUT …/metadata`: replace all pairs."""
    return _all_metadata(request, Edit(metadata=request.body["metadata"]))


def set_metadata(request: ApiRequest) -> Answer:
    """Handle `PUT …/metadata/{key}`."""
    pair, key = request.body["meta"], request.path["key"]
    if key not in pair:
        raise errors.InvalidRequest(f"Request body and URI mismatch: meta must have the key {key!r} of the path.")
    _edit(request, _kind(request), Edit(added=pair))
    return Answer(200, {"meta": pair})


def remove_metadata(request: ApiRequest) -> Answer:
    """Handle `DELETE …/metadata/{key}`."""
    _edit(request, _kind(request), Edit(removed=request.path["key"]))
    return Answer(200)


def refuse_to_delete(request: ApiRequest) -> Answer:
    """Handle `DELETE` of a snapshot or a volume."""
    action = f"/{_kind(request).__name__.lower()}s/{_get(request).id}/action"
    raise errors.NotPermitted(
        f"snapmanage never deletes anything on a backend; unmanage it with POST {action} os-unmanage: the record goes, "
        "and the object stays."
    )


def _all_metadata(request: ApiRequest, edit: Edit) -> Answer:
    return Answer(200, {"metadata": dict(_edit(request, _kind(request), edit).metadata)})


def _edit(request: ApiRequest, kind: type[Record], edit: Edit) -> Any:
    record_id = request.path[f"{kind.__name__.lower()}_id"]
    new = replace(edit, by_admin=request.is_admin)
    record = use_cases.edit(request.service.app, kind, record_id, request.visible_project, new)
    crash.at(Point.UNANSWERED)
    LOG.info("%s edited: %s", kind.__name__, fields(record, request=request.caller.requester.request_id))
    return record


def _texts(resource: dict[str, Any]) -> dict[str, str | None]:
    """Return the new name and description; the older names of the fields count if the newer ones are missing."""
    older = {name: resource[f"display_{name}"] for name in ("name", "description") if f"display_{name}" in resource}
    return older | {name: resource[name] for name in ("name", "description") if name in resource}


def _kind(request: ApiRequest) -> type[Record]:
    return Snapshot if "snapshot_id" in request.path else Volume


def _get(request: ApiRequest) -> Record:
    if "snapshot_id" in request.path:
        return queries.snapshot(request.service.app, request.path["snapshot_id"], request.visible_project)
    return queries.volume(request.service.app, request.path["volume_id"], request.visible_project)
