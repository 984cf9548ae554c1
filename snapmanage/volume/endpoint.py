"""The methods that a server answers, as oslo.messaging's dispatcher calls them.

A cast becomes an `Ask`, handed to `accept`; a call is answered by `list_manageable`. Nothing else
happens here, so that whatever these methods raise means that the message can't be understood.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import oslo_messaging

from snapmanage import errors
from snapmanage.bus import names
from snapmanage.core.ids import uuid_text
from snapmanage.core.location import Location
from snapmanage.core.manageable import Manageable, Page
from snapmanage.core.records import Operation, Requester, Snapshot, Status, Volume
from snapmanage.core.reference import Reference
from snapmanage.core.text import keepable
from snapmanage.manage.acceptance import Ask

Accept = Callable[[Ask], None]
ListManageable = Callable[[Page], list[Manageable]]
LARGEST_GB = 2**40
_UNDATED = datetime.min.replace(tzinfo=UTC)


class Endpoint:
    """snapmanage's own methods, version 1.x, for one server."""

    target = oslo_messaging.Target(version=names.ACCEPTED_VERSION)

    def __init__(self, server: str, accept: Accept, list_manageable: ListManageable) -> None:
        self._location = Location.parse(server)
        self._accept = accept
        self._list = list_manageable

    def manage_snapshot(
        self,
        ctxt: Mapping[str, Any],
        snapshot_id: str,
        volume_id: str | None = None,
        ref: Any = None,
        name: str | None = None,
        description: str | None = None,
        metadata: Mapping[str, str] | None = None,
        project_id: str | None = None,
        user_id: str | None = None,
    ) -> None:
        """Manage a snapshot that is in the database, or that an upstream API describes whole."""
        record = None
        if volume_id is not None and ref is not None and (project_id or ctxt.get("project_id")):
            record = Snapshot(
                id=_uuid("snapshot_id", snapshot_id),
                volume_id=_uuid("volume_id", volume_id),
                location=self._location,
                reference=Reference.of(ref),
                name=_text("name", name),
                description=_text("description", description),
                metadata=_metadata(metadata),
                requester=_requester(ctxt, project_id, user_id),
                created_at=_UNDATED,
            )
        self._accept(_ask(Operation.MANAGE, snapshot_id, record))

    def unmanage_snapshot(self, ctxt: Mapping[str, Any], snapshot_id: str, generation: int | None = None) -> None:
        """Give a snapshot back.

        After one that failed, a cast is a new request where its `generation` (from 1.2 on) is that of the
        latest event, or, without, its `request_id` is another; otherwise it is a repeat.
        """
        ask = _ask(Operation.UNMANAGE, snapshot_id, requester=_known_requester(ctxt))
        self._accept(replace(ask, generation=_generation(generation)))

    def manage_volume(self, ctxt: Mapping[str, Any], volume_id: str) -> None:
        """Look a volume up that is in the database."""
        self._accept(Ask(Volume, _uuid("volume_id", volume_id), Operation.MANAGE))

    def get_manageable_snapshots(
        self,
        ctxt: Mapping[str, Any],
        marker: Mapping[str, Any] | None = None,
        limit: int | None = None,
        offset: int | None = 0,
        sort_keys: Sequence[str] = ("reference",),
        sort_dirs: Sequence[str] = ("desc",),
        filters: Mapping[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        """What could be managed, as the API shows it; `filters` are those of `Filters.as_wire`, from 1.1 on."""
        page = Page.of(marker, limit, offset or 0, sort_keys or (), sort_dirs or (), filters or {})
        return [entry.as_wire() for entry in self._list(page)]


class ReferenceEndpoint:
    """The dialect of the reference's API, version 3.x, so that it can cast here unchanged."""

    target = oslo_messaging.Target(version=names.ACCEPTED_REFERENCE_VERSION)

    def __init__(self, server: str, accept: Accept, list_manageable: ListManageable, volume_template: str) -> None:
        self._location = Location.parse(server)
        self._accept = accept
        self._own = Endpoint(server, accept, list_manageable)
        self._volume_template = volume_template

    def manage_existing_snapshot(self, ctxt: Mapping[str, Any], snapshot: Mapping[str, Any], ref: Any) -> None:
        """Manage a snapshot of the sender's records; its volume goes by the sender's name for it."""
        fields = _object_fields(snapshot)
        volume = self._volume(ctxt, fields)
        record = Snapshot(
            id=_uuid("id", fields["id"]),
            volume_id=volume.id,
            location=self._location,
            reference=Reference.of(ref),
            name=_text("display_name", fields.get("display_name")),
            description=_text("display_description", fields.get("display_description")),
            metadata=_metadata(fields.get("metadata")),
            size_gb=volume.size_gb,
            requester=volume.requester,
            created_at=_UNDATED,
        )
        self._accept(_ask(Operation.MANAGE, record.id, record, volume))

    def delete_snapshot(
        self, ctxt: Mapping[str, Any], snapshot: Mapping[str, Any], unmanage_only: bool = False, **handling: Any
    ) -> None:
        """Give a snapshot back; without `unmanage_only` it is refused, since nothing is ever deleted."""
        if unmanage_only is not True:
            raise errors.InvalidRequest("snapmanage never deletes a snapshot: unmanage_only must be true")
        self._accept(_ask(Operation.UNMANAGE, _object_fields(snapshot)["id"], requester=_known_requester(ctxt)))

    def get_manageable_snapshots(
        self, ctxt: Mapping[str, Any], want_objects: bool = False, **page: Any
    ) -> list[dict[str, Any]]:
        """What could be managed, as versioned objects where they are wanted."""
        entries = self._own.get_manageable_snapshots(ctxt, **page)
        return [_object("ManageableSnapshot", entry) for entry in entries] if want_objects else entries

    def _volume(self, ctxt: Mapping[str, Any], fields: Mapping[str, Any]) -> Volume:
        volume_id = _uuid("volume_id", fields["volume_id"])
        return Volume(
            id=volume_id,
            location=self._location,
            reference=Reference.named(self._volume_template % volume_id),
            status=Status.AVAILABLE,
            size_gb=_size(fields.get("volume_size")),
            backend_name=self._volume_template % volume_id,
            requester=_requester(ctxt, fields.get("project_id"), fields.get("user_id")),
            created_at=_UNDATED,
        )


def _ask(
    operation: Operation,
    snapshot_id: Any,
    record: Snapshot | None = None,
    volume: Volume | None = None,
    requester: Requester | None = None,
) -> Ask:
    return Ask(Snapshot, _uuid("snapshot_id", snapshot_id), operation, record, volume, requester)


def _requester(ctxt: Mapping[str, Any], project_id: str | None, user_id: str | None) -> Requester:
    """Who asks; the arguments count more than the context."""
    project = _text("project_id", project_id or ctxt.get("project_id"))
    if not project:
        raise errors.InvalidRequest("project_id is missing: name the project in the arguments or in the context")
    return Requester(
        project_id=project,
        user_id=_text("user_id", user_id or ctxt.get("user_id")),
        request_id=_text("request_id", ctxt.get("request_id")),
        global_request_id=_text("global_request_id", ctxt.get("global_request_id")),
    )


def _known_requester(ctxt: Mapping[str, Any]) -> Requester | None:
    return _requester(ctxt, None, None) if ctxt.get("project_id") else None


def _uuid(argument: str, value: Any) -> str:
    if (read := uuid_text(value)) is None:
        raise errors.InvalidRequest(f"{argument} must be a UUID, not {value!r}")
    return read


def _text(argument: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > 255 or not keepable(value):
        raise errors.InvalidRequest(
            f"{argument} must be a text of up to 255 characters of Unicode without NUL, or null, not {value!r}"
        )
    return value


def _size(value: Any) -> int | None:
    if value is not None and (type(value) is not int or not 0 <= value < LARGEST_GB):
        raise errors.InvalidRequest(f"volume_size must be a number of GiB, or null, not {value!r}")
    return value


def _generation(value: Any) -> int | None:
    if value is not None and (type(value) is not int or value < 1):
        raise errors.InvalidRequest(f"generation must be that of an event, a number from 1 on, or null, not {value!r}")
    return value


def _metadata(value: Any) -> dict[str, str]:
    given = {} if value is None else value
    if not isinstance(given, Mapping) or not all(isinstance(part, str) for pair in given.items() for part in pair):
        raise errors.InvalidRequest("metadata must be an object of texts")
    return dict(given)


def _object_fields(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of a versioned object, whatever its minor version."""
    fields = value["versioned_object.data"]
    if value["versioned_object.name"] != "Snapshot" or not isinstance(fields, Mapping):
        raise errors.InvalidRequest("snapshot must be a versioned object of the name Snapshot")
    return fields


def _object(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "versioned_object.name": name,
        "versioned_object.namespace": "cinder",
        "versioned_object.version": "1.0",
        "versioned_object.data": dict(fields),
    }
