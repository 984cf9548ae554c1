"""Records as clients see them: exactly the fields of the Block Storage API, since strict clients refuse more."""

import json
from typing import Any
from urllib.parse import urlencode

from snapmanage.api import versions
from snapmanage.api.request import Answer, ApiRequest, wire_time
from snapmanage.api.versions import Version
from snapmanage.core.audit import Entry
from snapmanage.core.location import Location
from snapmanage.core.records import Snapshot, Status, Volume
from snapmanage.core.usermessages import UserMessage


def snapshot_summary(call: ApiRequest, snapshot: Snapshot) -> dict[str, Any]:
    return {
        "id": snapshot.id,
        "created_at": wire_time(snapshot.created_at),
        "updated_at": wire_time(snapshot.updated_at),
        "name": snapshot.name,
        "description": snapshot.description,
        "volume_id": snapshot.volume_id,
        "status": snapshot.status.value,
        "size": snapshot.size_gb or 0,
        "metadata": dict(snapshot.metadata),
    }


def snapshot_detail(call: ApiRequest, snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot shown: the summary, and what the microversion adds."""
    view = snapshot_summary(call, snapshot) | {
        "os-extended-snapshot-attributes:progress": "100%" if snapshot.status is Status.AVAILABLE else "0%",
        "os-extended-snapshot-attributes:project_id": snapshot.requester.project_id,
    }
    if call.version >= versions.GROUP_SNAPSHOT_ID:
        view["group_snapshot_id"] = None
    if call.version >= versions.SNAPSHOT_USER_ID:
        view["user_id"] = snapshot.requester.user_id
    if call.version >= versions.CONSUMES_QUOTA:
        view["consumes_quota"] = snapshot.reference_key is not None or snapshot.identity_key is not None
    return view


def volume_summary(call: ApiRequest, volume: Volume) -> dict[str, Any]:
    return {"id": volume.id, "name": volume.name, "links": _links(call, f"volumes/{volume.id}")}


def volume_detail(call: ApiRequest, volume: Volume) -> dict[str, Any]:
    """A volume shown, with what the microversion adds; it is what a plain, unattached one is elsewhere.

    Where it lives is for administrators only.
    """
    view = volume_summary(call, volume) | {
        "description": volume.description,
        "status": volume.status.value,
        "size": volume.size_gb or 0,
        "metadata": dict(volume.metadata),
        "created_at": wire_time(volume.created_at),
        "updated_at": wire_time(volume.updated_at),
        "user_id": volume.requester.user_id,
        "availability_zone": None,
        "bootable": "false",
        "encrypted": False,
        "multiattach": False,
        "attachments": [],
        "volume_type": None,
        "snapshot_id": None,
        "source_volid": None,
        "consistencygroup_id": None,
        "replication_status": None,
        "migration_status": None,
        "os-vol-host-attr:host": _with_pool(volume.location),
        "os-vol-mig-status-attr:migstat": None,
        "os-vol-mig-status-attr:name_id": None,
        "os-vol-tenant-attr:tenant_id": volume.requester.project_id,
    }
    view |= {name: value for since, name, value in _VOLUME_ADDITIONS if call.version >= since}
    return {name: value for name, value in view.items() if call.administers or name not in _FOR_ADMINISTRATORS}


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
    (versions.VOLUME_TYPE_ID, "volume_type_id", None),
    (versions.VOLUME_ENCRYPTION_KEY_ID, "encryption_key_id", None),
    (versions.CONSUMES_QUOTA, "consumes_quota", True),
)


def message(call: ApiRequest, told: UserMessage) -> dict[str, Any]:
    return {
        "id": told.id,
        "event_id": told.event_id,
        "user_message": told.text,
        "message_level": told.level,
        "resource_type": told.resource_type,
        "resource_uuid": told.resource_id,
        "created_at": wire_time(told.created_at),
        "guaranteed_until": wire_time(told.guaranteed_until),
        "request_id": told.request_id,
        "links": _links(call, f"messages/{told.id}"),
    }


def operation(call: ApiRequest, snapshot: Snapshot, heard: list[Entry]) -> dict[str, Any]:
    """snapmanage's own view of how an operation fares; `events` are those in the audit log of this database."""
    waiting = snapshot.status.in_progress and snapshot.claimed_by is None
    return {
        "snapshot_id": snapshot.id,
        "status": snapshot.status.value,
        "attempt": snapshot.attempt,
        "max_attempts": call.app.rules.retry.max_attempts,
        "reference": snapshot.reference.value,
        "backend_name": snapshot.backend_name,
        "backend_id": snapshot.backend_id,
        "backend_created_at": wire_time(snapshot.backend_created_at),
        "reason": snapshot.reason,
        "reason_code": snapshot.reason_code,
        "next_attempt_at": wire_time(snapshot.due_at) if waiting else None,
        "events": [_event(entry) for entry in heard],
    }


def manageable(entry: dict[str, Any], detail: bool) -> dict[str, Any]:
    """An entry of `get_manageable_snapshots`, whole or cut to what the plain list shows."""
    summary = ("reference", "size", "safe_to_manage", "source_reference")
    return entry if detail else {name: entry[name] for name in summary}


def _event(entry: Entry) -> dict[str, Any]:
    payload = entry.payload
    names = ("event_id", "generation", "occurred_at", "status", "attempt", "reason")
    return {"event_type": entry.event_type} | {name: payload[name] for name in names}


def page(call: ApiRequest, name: str, entries: list[dict[str, Any]], found: int, total: int | None = None) -> Answer:
    """A page of a list, with a link to the next one where more was found than is shown."""
    body: dict[str, Any] = {name: entries}
    if found > len(entries) > 0:
        body[f"{name}_links"] = next_link(call, entries[-1]["id"])
    return Answer(200, body if total is None else body | {"count": total})


def manageable_page(call: ApiRequest, entries: list[dict[str, Any]], found: int) -> Answer:
    """A page of what could be managed, with a link to the next one.

    Where a limit is asked for there is one until a page is empty: the field's SDK goes on by itself
    where it is given none, and since these entries have no id, it would begin at the first page again.
    """
    body: dict[str, Any] = {"manageable-snapshots": entries}
    if entries and (found > len(entries) or "limit" in call.parameters):
        body["manageable-snapshots_links"] = next_link(
            call, json.dumps(entries[-1]["reference"], separators=(",", ":"))
        )
    return Answer(200, body)


def next_link(call: ApiRequest, marker: str) -> list[dict[str, str]]:
    """Where the page that goes on after `marker` is."""
    parameters = {name: value for name, value in call.parameters.items() if name not in ("marker", "offset")}
    query = urlencode(parameters | {"marker": marker})
    return [{"rel": "next", "href": f"{call.http.prefix}{call.http.path}?{query}"}]


def _links(call: ApiRequest, path: str) -> list[dict[str, str]]:
    """Where a resource is, with and without the version, as the Block Storage API shows it."""
    project = call.path.get("project_id")
    bookmark = f"{call.http.prefix}/{project}/{path}" if project else f"{call.http.prefix}/{path}"
    return [{"rel": "self", "href": f"{call.base}/{path}"}, {"rel": "bookmark", "href": bookmark}]


def _with_pool(location: Location) -> str:
    """Return host@backend#pool; a backend without pools has one pool of its own name."""
    return str(location) if location.pool else f"{location}#{location.backend}"
