"""Records in the form of the Block Storage API: exactly its fields, because strict clients refuse others."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from snapmanage.api import defaults, versions
from snapmanage.api.request import ApiRequest
from snapmanage.api.versions import Version
from snapmanage.core import reasons
from snapmanage.core.audit.chain import Entry
from snapmanage.core.lists import manageable as lists
from snapmanage.core.records import Record, Snapshot, Status, Volume
from snapmanage.core.usermessages import UserMessage
from snapmanage.core.values.text import time_text

OWN_PREFIX = "snapmanage:"


@dataclass(frozen=True)
class ManageableList:
    """A list of what a backend holds: its name in answers, and the fields of an entry without details."""

    name: str
    summary: tuple[str, ...] = lists.SUMMARY


MANAGEABLE_SNAPSHOTS = ManageableList("manageable-snapshots", (*lists.SUMMARY, "source_reference"))
MANAGEABLE_VOLUMES = ManageableList("manageable-volumes")


def snapshot_summary(request: ApiRequest, snapshot: Snapshot) -> dict[str, Any]:
    return {
        "id": snapshot.id,
        "created_at": _time(snapshot.created_at),
        "updated_at": _time(snapshot.updated_at),
        "name": snapshot.name,
        "description": snapshot.description,
        "volume_id": snapshot.volume_id,
        "status": snapshot.status.value,
        "size": snapshot.size_gb or 0,
        "metadata": dict(snapshot.metadata),
    }


def snapshot_detail(request: ApiRequest, snapshot: Snapshot) -> dict[str, Any]:
    """Return the summary of a snapshot with the detail fields of the request's microversion."""
    view = snapshot_summary(request, snapshot) | {
        "os-extended-snapshot-attributes:progress": "100%" if snapshot.status is Status.AVAILABLE else "0%",
        "os-extended-snapshot-attributes:project_id": snapshot.requester.project_id,
    }
    if request.version >= versions.GROUP_SNAPSHOT_ID:
        view["group_snapshot_id"] = None
    if request.version >= versions.SNAPSHOT_USER_ID:
        view["user_id"] = snapshot.requester.user_id
    if request.version >= versions.CONSUMES_QUOTA:
        view["consumes_quota"] = snapshot.reference_key is not None or snapshot.identity_key is not None
    return view | _own_fields(request, snapshot)


def _own_fields(request: ApiRequest, record: Record) -> dict[str, Any]:
    """Return the fields that only snapmanage has, for a caller that requires them."""
    if not request.own_fields:
        return {}
    view = {
        "reference": record.reference.value,
        "backend_name": record.backend_name,
        "original_name": record.original_name,
        "reason": _reason(request, record),
        "reason_code": record.reason_code,
    } | ({"host": str(record.location)} if request.is_admin else {})
    return {f"{OWN_PREFIX}{name}": value for name, value in view.items()}


def _reason(request: ApiRequest, record: Record) -> str | None:
    """Return the reason of a failure; only administrators see its text, others a sentence for the code."""
    return record.reason if request.is_admin or record.reason is None else reasons.sentence(record.reason_code)


def snapshot_edited(request: ApiRequest, snapshot: Snapshot) -> dict[str, Any]:
    """Return the fields of a snapshot after an edit; the Block Storage API leaves out the extended attributes."""
    return _without(snapshot_detail(request, snapshot), "os-extended-snapshot-attributes:")


def volume_summary(request: ApiRequest, volume: Volume) -> dict[str, Any]:
    return {"id": volume.id, "name": volume.name, "links": _links(request, f"volumes/{volume.id}")}


def volume_detail(request: ApiRequest, volume: Volume) -> dict[str, Any]:
    """Return the detail fields of a volume in the request's microversion, as of a plain, unattached volume.

    Its host and similar fields are for administrators only.
    """
    location = volume.location
    view = volume_summary(request, volume) | {
        "description": volume.description,
        "status": volume.status.value,
        "size": volume.size_gb or 0,
        "metadata": dict(volume.metadata),
        "created_at": _time(volume.created_at),
        "updated_at": _time(volume.updated_at),
        "user_id": volume.requester.user_id,
        "availability_zone": defaults.ZONE,
        "bootable": "false",
        "encrypted": False,
        "multiattach": False,
        "attachments": [],
        "volume_type": defaults.TYPE_NAME,
        "snapshot_id": None,
        "source_volid": None,
        "consistencygroup_id": None,
        "replication_status": None,
        "migration_status": None,
        # A backend without pools is its own pool.
        "os-vol-host-attr:host": str(replace(location, pool=location.pool or location.backend)),
        "os-vol-mig-status-attr:migstat": None,
        "os-vol-mig-status-attr:name_id": None,
        "os-vol-tenant-attr:tenant_id": volume.requester.project_id,
    }
    view |= {name: value for since, name, value in _VOLUME_ADDITIONS if request.version >= since}
    view |= _own_fields(request, volume)
    return {name: value for name, value in view.items() if request.is_admin or name not in _FOR_ADMINISTRATORS}


def volume_edited(request: ApiRequest, volume: Volume) -> dict[str, Any]:
    """Return the fields of a volume after an edit; the Block Storage API leaves out the extended attributes."""
    return _without(volume_detail(request, volume), "os-vol-")


def _without(view: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name: value for name, value in view.items() if not name.startswith(prefix)}


_FOR_ADMINISTRATORS = {
    "cluster_name",
    "migration_status",
    "os-vol-host-attr:host",
    "os-vol-mig-status-attr:migstat",
    "os-vol-mig-status-attr:name_id",
    "provider_id",
}
_VOLUME_ADDITIONS: tuple[tuple[Version, str, Any], ...] = (
    (versions.VOLUME_GROUP_ID, "group_id", None),
    (versions.VOLUME_PROVIDER_ID, "provider_id", None),
    (versions.VOLUME_SERVICE_UUID, "service_uuid", None),
    (versions.VOLUME_SERVICE_UUID, "shared_targets", False),
    (versions.VOLUME_CLUSTER_NAME, "cluster_name", None),
    (versions.VOLUME_TYPE_ID, "volume_type_id", defaults.TYPE_ID),
    (versions.VOLUME_ENCRYPTION_KEY_ID, "encryption_key_id", None),
    (versions.CONSUMES_QUOTA, "consumes_quota", True),
)


def message(request: ApiRequest, user_message: UserMessage) -> dict[str, Any]:
    """Return a message; only administrators see hosts, paths and names on the backend in its text."""
    return {
        "id": user_message.id,
        "event_id": user_message.event_id,
        "user_message": user_message.text if request.is_admin else user_message.text_for_readers,
        "message_level": user_message.level,
        "resource_type": user_message.resource_type,
        "resource_uuid": user_message.resource_id,
        "created_at": _time(user_message.created_at),
        "guaranteed_until": _time(user_message.guaranteed_until),
        "request_id": user_message.request_id,
        "links": _links(request, f"messages/{user_message.id}"),
    }


def operation(request: ApiRequest, snapshot: Snapshot, entries: list[Entry]) -> dict[str, Any]:
    """Return the progress of an operation; `entries` are the snapshot's events in the audit log.

    Only administrators see the texts of reasons, which may have hosts and paths; others see a sentence for the code.
    """
    waiting = snapshot.status.in_progress and snapshot.claimed_by is None
    return {
        "snapshot_id": snapshot.id,
        "status": snapshot.status.value,
        "attempt": snapshot.attempt,
        "max_attempts": request.service.app.rules.retry.max_attempts,
        "reference": snapshot.reference.value,
        "backend_name": snapshot.backend_name,
        "backend_id": snapshot.backend_id,
        "backend_created_at": _time(snapshot.backend_created_at),
        "reason": _reason(request, snapshot),
        "reason_code": snapshot.reason_code,
        "next_attempt_at": _time(snapshot.due_at) if waiting else None,
        "batch_position": snapshot.batch_position,
        "batch_size": snapshot.batch_size,
        "events": [_event(entry, request.is_admin) for entry in entries],
    }


def manageable(request: ApiRequest, kind: ManageableList, entry: dict[str, Any], detail: bool) -> dict[str, Any]:
    """Return an entry of a server's answer, reduced to the summary's fields unless `detail` is set.

    Only administrators see the ids of records, which may belong to other projects, and the texts of reasons. A server
    of an earlier release sends no own fields.
    """
    if not detail:
        return {name: entry[name] for name in kind.summary}
    shown = (*kind.summary, *lists.DETAILS, *(lists.OWN_FIELDS if request.own_fields else ()))
    view = {name: entry.get(name) for name in shown}
    return view if request.is_admin else lists.for_readers(view)


def _event(entry: Entry, detailed: bool) -> dict[str, Any]:
    """Return the shown fields of an event; any client that may publish chooses their values, so they may be odd."""
    names = ("event_id", "generation", "occurred_at", "status", "attempt", "reason")
    payload = entry.readable_payload
    shown = {"event_type": entry.event_type} | {name: payload.get(name) for name in names}
    if shown["reason"] and not detailed:
        given = shown["reason"].get("code") if isinstance(shown["reason"], dict) else None
        code = given if isinstance(given, str) else None
        shown["reason"] = {"code": code, "text": reasons.sentence(code)}
    return shown


def _links(request: ApiRequest, path: str) -> list[dict[str, str]]:
    """Return a resource's links with and without the API version, like the Block Storage API."""
    project = request.path.get("project_id")
    bookmark = f"{request.http.prefix}/{project}/{path}" if project else f"{request.http.prefix}/{path}"
    return [{"rel": "self", "href": f"{request.base}/{path}"}, {"rel": "bookmark", "href": bookmark}]


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else time_text(moment)
