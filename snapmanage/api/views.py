"""Records as clients see them: exactly the fields of the Block Storage API, since strict clients refuse more."""

from typing import Any
from urllib.parse import urlencode

from snapmanage.api import versions
from snapmanage.api.call import Call, wire_time
from snapmanage.core.events import UserMessage
from snapmanage.core.ledger import Entry
from snapmanage.core.records import Record, Snapshot, Status, Volume


def snapshot_summary(call: Call, snapshot: Snapshot) -> dict[str, Any]:
    return {
        "id": snapshot.id,
        "created_at": wire_time(snapshot.created_at),
        "updated_at": wire_time(snapshot.updated_at),
        "name": snapshot.name,
        "description": snapshot.description,
        "volume_id": snapshot.volume_id,
        "status": snapshot.status.value,
        "size": snapshot.size_gb,
        "metadata": dict(snapshot.metadata),
    }


def snapshot_detail(call: Call, snapshot: Snapshot) -> dict[str, Any]:
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


def volume_detail(call: Call, volume: Volume) -> dict[str, Any]:
    href = f"{call.base}/volumes/{volume.id}"
    return {
        "id": volume.id,
        "name": volume.name,
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
        "os-vol-host-attr:host": volume.host,
        "os-vol-tenant-attr:tenant_id": volume.requester.project_id,
        "links": [{"rel": "self", "href": href}, {"rel": "bookmark", "href": href}],
    }


def message(call: Call, told: UserMessage) -> dict[str, Any]:
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
        "links": [{"rel": "self", "href": f"{call.base}/messages/{told.id}"}],
    }


def operation(call: Call, snapshot: Snapshot, heard: list[Entry]) -> dict[str, Any]:
    """snapmanage's own view of how an operation fares; `events` are those in the audit log of this database."""
    waiting = snapshot.status.in_progress and snapshot.claimed_by is None
    return {
        "snapshot_id": snapshot.id,
        "status": snapshot.status.value,
        "attempt": snapshot.attempt,
        "max_attempts": call.site.rules.retry.max_attempts,
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


def next_link(call: Call, last: Record) -> list[dict[str, str]]:
    """Where the page after the one that ends with `last` is."""
    parameters = {name: value for name, value in call.parameters.items() if name not in ("marker", "offset")}
    query = urlencode(parameters | {"marker": last.id})
    return [{"rel": "next", "href": f"{call.http.prefix}{call.http.path}?{query}"}]
