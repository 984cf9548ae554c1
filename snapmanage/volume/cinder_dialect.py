"""Cinder's RPC methods, so that Cinder's API can cast to snapmanage unchanged.

Snapshots and volumes arrive as versioned objects, whose records the sender keeps.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import oslo_messaging

from snapmanage import errors
from snapmanage.bus import names
from snapmanage.core.records import Operation, Snapshot, Status, Volume
from snapmanage.core.reference import Reference
from snapmanage.core.upstream import Report, RequestKind
from snapmanage.core.values.ids import derive, parse_uuid
from snapmanage.core.values.location import Location
from snapmanage.manage.acceptance import OperationRequest
from snapmanage.volume import arguments
from snapmanage.volume.endpoint import Answer, Endpoint, ManageableLists

DIALECT = "cinder"


class CinderEndpoint:
    """Cinder's methods, version 3.x, for one server."""

    target = oslo_messaging.Target(version=names.ACCEPTED_REFERENCE_VERSION)

    def __init__(self, server: str, lists: ManageableLists, volume_template: str) -> None:
        self._location = Location.parse(server)
        self._own = Endpoint(server, lists)
        self._volume_template = volume_template

    def manage_existing_snapshot(
        self, ctxt: Mapping[str, Any], snapshot: Mapping[str, Any], ref: Any
    ) -> OperationRequest:
        """Manage a snapshot of the sender's records; the sender's template names its volume on the backend."""
        fields = _object_fields(snapshot)
        volume = self._volume(ctxt, fields)
        record = Snapshot(
            id=parse_uuid("id", fields["id"]),
            volume_id=volume.id,
            location=self._location,
            reference=Reference.of(ref),
            name=arguments.text("display_name", fields.get("display_name")),
            description=arguments.text("display_description", fields.get("display_description")),
            metadata=arguments.metadata(fields.get("metadata"), ctxt),
            size_gb=volume.size_gb,
            requester=volume.requester,
            created_at=arguments.UNDATED,
            upstream=DIALECT,
        )
        return OperationRequest(Snapshot, record.id, Operation.MANAGE, record, volume, upstream=DIALECT)

    def delete_snapshot(
        self, ctxt: Mapping[str, Any], snapshot: Mapping[str, Any], unmanage_only: bool = False, **handling: Any
    ) -> OperationRequest:
        """Unmanage a snapshot; raise `InvalidRequest` without `unmanage_only`, since snapmanage never deletes."""
        if unmanage_only is not True:
            raise errors.InvalidRequest("snapmanage never deletes a snapshot: unmanage_only must be true")
        snapshot_id = parse_uuid("id", _object_fields(snapshot)["id"])
        requester = arguments.known_requester(ctxt)
        return OperationRequest(Snapshot, snapshot_id, Operation.UNMANAGE, requester=requester, upstream=DIALECT)

    def delete_volume(
        self, ctxt: Mapping[str, Any], volume: Mapping[str, Any], unmanage_only: bool = False, **handling: Any
    ) -> OperationRequest:
        """Unmanage a volume; raise `InvalidRequest` without `unmanage_only`, since snapmanage never deletes."""
        if unmanage_only is not True:
            raise errors.InvalidRequest("snapmanage never deletes a volume: unmanage_only must be true")
        volume_id = parse_uuid("id", _object_fields(volume, "Volume")["id"])
        return OperationRequest(Volume, volume_id, Operation.UNMANAGE, requester=arguments.known_requester(ctxt))

    def get_manageable_snapshots(
        self, ctxt: Mapping[str, Any], want_objects: bool = False, **page: Any
    ) -> list[dict[str, Any]]:
        """Return manageable snapshots, as versioned objects if `want_objects`."""
        entries = _entries(self._own.get_manageable_snapshots(ctxt, text=None, **page))
        return _objects("ManageableSnapshot", entries) if want_objects else entries

    def get_manageable_volumes(
        self, ctxt: Mapping[str, Any], want_objects: bool = False, **page: Any
    ) -> list[dict[str, Any]]:
        """Return manageable volumes, as versioned objects if `want_objects`."""
        entries = _entries(self._own.get_manageable_volumes(ctxt, text=None, **page))
        return _objects("ManageableVolume", entries) if want_objects else entries

    def _volume(self, ctxt: Mapping[str, Any], fields: Mapping[str, Any]) -> Volume:
        volume_id = parse_uuid("volume_id", fields["volume_id"])
        return Volume(
            id=volume_id,
            location=self._location,
            reference=Reference.named(self._volume_template % volume_id),
            status=Status.AVAILABLE,
            size_gb=arguments.size_gb(fields.get("volume_size")),
            backend_name=self._volume_template % volume_id,
            requester=arguments.requester(ctxt, fields.get("project_id"), fields.get("user_id")),
            created_at=arguments.UNDATED,
        )


def refusal(message_id: str, method: str, args: Mapping[str, Any], now: datetime) -> Report | None:
    """Return the report of a request that is quarantined as `message_id`; None if the upstream waits for no outcome.

    Like Cinder's own server, it lets the snapshot of a refused delete be `error_deleting`, and all others be `error`.
    """
    try:
        fields = _object_fields(args.get("snapshot") or {})
        snapshot_id, project_id = parse_uuid("id", fields["id"]), arguments.text("project_id", fields["project_id"])
    except (errors.Invalid, KeyError, TypeError, AttributeError):
        return None
    if method not in ("manage_existing_snapshot", "delete_snapshot") or not project_id:
        return None
    kind, status = RequestKind.REFUSED, "error"
    if method == "delete_snapshot" and args.get("unmanage_only") is True:
        kind = RequestKind.UNMANAGE
    elif method == "delete_snapshot":
        status = "error_deleting"
    return Report(derive(message_id, "upstream"), snapshot_id, project_id, kind, status, now, now)


def _entries(answer: Answer) -> list[dict[str, Any]]:
    """Return the entries of a list; this dialect has no texts of pages."""
    assert isinstance(answer, list)
    return answer


def _objects(name: str, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the entries as versioned objects with this name."""
    return [
        {
            "versioned_object.name": name,
            "versioned_object.namespace": "cinder",
            "versioned_object.version": "1.0",
            "versioned_object.data": entry,
        }
        for entry in entries
    ]


def _object_fields(value: Mapping[str, Any], name: str = "Snapshot") -> Mapping[str, Any]:
    """Return the fields of a versioned object of any minor version."""
    fields = value["versioned_object.data"]
    if value["versioned_object.name"] != name or not isinstance(fields, Mapping):
        raise errors.InvalidRequest(f"{name.lower()} must be a versioned object that is named {name}")
    return fields
