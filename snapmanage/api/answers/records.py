"""The JSON Schemas of answers about snapshots, volumes and the service itself; `views` makes these answers."""

from typing import Any

from snapmanage.api import defaults
from snapmanage.api.answers.shapes import (
    COUNT,
    ID,
    METADATA,
    NULL,
    TEXT,
    TIME,
    list_of,
    object_of,
    or_null,
    page_of,
    ref,
)
from snapmanage.core.records import Status

STATUS = {"enum": [each.value for each in Status]}
REFERENCE = {"type": "object", "examples": [{"source-name": "disk1.img@daily"}]}

_SNAPSHOT = {
    "id": ID,
    "created_at": TIME,
    "updated_at": or_null(TIME),
    "name": or_null(TEXT),
    "description": or_null(TEXT),
    "volume_id": ID,
    "status": STATUS,
    "size": COUNT,
    "metadata": METADATA,
}
# Fields that only snapmanage has, for a request that requires them.
_OWN = {
    "snapmanage:reference": REFERENCE,
    "snapmanage:backend_name": or_null(TEXT),
    "snapmanage:original_name": or_null(TEXT),
    "snapmanage:reason": or_null(TEXT),
    "snapmanage:reason_code": or_null(TEXT),
    "snapmanage:host": TEXT,
}
_SNAPSHOT_ADDITIONS = _OWN | {
    "group_snapshot_id": NULL,
    "user_id": or_null(TEXT),
    "consumes_quota": {"type": "boolean"},
}
_VOLUME = {"id": ID, "name": or_null(TEXT), "links": ref("links")}
_VOLUME_SHOWN = _VOLUME | {
    "description": or_null(TEXT),
    "status": STATUS,
    "size": COUNT,
    "metadata": METADATA,
    "created_at": TIME,
    "updated_at": or_null(TIME),
    "user_id": or_null(TEXT),
    "availability_zone": {"const": defaults.ZONE},
    "bootable": {"const": "false"},
    "encrypted": {"const": False},
    "multiattach": {"const": False},
    "attachments": {"const": []},
    "volume_type": {"const": defaults.TYPE_NAME},
    "snapshot_id": NULL,
    "source_volid": NULL,
    "consistencygroup_id": NULL,
    "replication_status": NULL,
}
_VOLUME_ADDITIONS = _OWN | {
    "migration_status": NULL,
    "group_id": NULL,
    "provider_id": NULL,
    "service_uuid": NULL,
    "shared_targets": {"const": False},
    "cluster_name": NULL,
    "volume_type_id": {"const": defaults.TYPE_ID},
    "encryption_key_id": NULL,
    "consumes_quota": {"const": True},
}
_MANAGEABLE_VOLUME = {"reference": REFERENCE, "size": COUNT, "safe_to_manage": {"type": "boolean"}}
_MANAGEABLE = _MANAGEABLE_VOLUME | {"source_reference": REFERENCE}
_MANAGEABLE_DETAILS = {
    "reason_not_safe": or_null(TEXT),
    "extra_info": {"type": ["object", "null"], "additionalProperties": TEXT},
    "cinder_id": or_null(ID),
}
_OWN_OF_MANAGEABLE = {"snapmanage:identity": or_null(TEXT), "snapmanage:created_at": or_null(TIME)}

# By the names that the routes table uses; schemas refer to each other by these names too.
SCHEMAS: dict[str, dict[str, Any]] = {
    "links": list_of(object_of({"rel": TEXT, "href": {"type": "string", "format": "uri"}})),
    "snapshot": object_of(_SNAPSHOT),
    "snapshot_shown": object_of(
        _SNAPSHOT
        | {
            "os-extended-snapshot-attributes:progress": {"enum": ["0%", "100%"]},
            "os-extended-snapshot-attributes:project_id": TEXT,
        },
        **_SNAPSHOT_ADDITIONS,
    ),
    "snapshot_edited": object_of(_SNAPSHOT, **_SNAPSHOT_ADDITIONS),
    "volume": object_of(_VOLUME),
    "volume_shown": object_of(
        _VOLUME_SHOWN | {"os-vol-tenant-attr:tenant_id": TEXT},
        **_VOLUME_ADDITIONS,
        **{
            "os-vol-host-attr:host": TEXT,
            "os-vol-mig-status-attr:migstat": NULL,
            "os-vol-mig-status-attr:name_id": NULL,
        },
    ),
    "volume_edited": object_of(_VOLUME_SHOWN, **_VOLUME_ADDITIONS),
    "message": object_of(
        {
            "id": ID,
            "event_id": TEXT,
            "user_message": TEXT,
            "message_level": TEXT,
            "resource_type": TEXT,
            "resource_uuid": ID,
            "created_at": TIME,
            "guaranteed_until": TIME,
            "request_id": or_null(TEXT),
            "links": ref("links"),
        }
    ),
    "operation": object_of(
        {
            "snapshot_id": ID,
            "status": STATUS,
            "attempt": COUNT,
            "max_attempts": COUNT,
            "reference": REFERENCE,
            "backend_name": or_null(TEXT),
            "backend_id": or_null(TEXT),
            "backend_created_at": or_null(TIME),
            "reason": or_null(TEXT),
            "reason_code": or_null(TEXT),
            "next_attempt_at": or_null(TIME),
            "batch_position": or_null(COUNT),
            "batch_size": or_null(COUNT),
            "events": list_of(ref("event")),
        }
    ),
    "event": object_of(
        {
            "event_type": TEXT,
            "event_id": ID,
            "generation": COUNT,
            "occurred_at": {"type": "string", "format": "date-time"},
            "status": TEXT,
            "attempt": COUNT,
            "reason": or_null(object_of({"code": TEXT, "text": TEXT})),
        }
    ),
    "manageable": object_of(_MANAGEABLE),
    "manageable_shown": object_of(_MANAGEABLE | _MANAGEABLE_DETAILS, **_OWN_OF_MANAGEABLE),
    "manageable_volume": object_of(_MANAGEABLE_VOLUME),
    "manageable_volume_shown": object_of(_MANAGEABLE_VOLUME | _MANAGEABLE_DETAILS, **_OWN_OF_MANAGEABLE),
    "extension": object_of({"name": TEXT, "alias": TEXT, "description": TEXT, "updated": TEXT, "links": {"const": []}}),
    "version": object_of(
        {
            "id": TEXT,
            "status": TEXT,
            "version": TEXT,
            "min_version": TEXT,
            "updated": TEXT,
            "links": ref("links"),
            "media-types": list_of(object_of({"base": TEXT, "type": TEXT})),
        }
    ),
    "snapshots": page_of("snapshots", "snapshot"),
    "snapshots_shown": page_of("snapshots", "snapshot_shown"),
    "volumes": page_of("volumes", "volume"),
    "volumes_shown": page_of("volumes", "volume_shown"),
    "messages": page_of("messages", "message"),
    "manageable_snapshots": page_of("manageable-snapshots", "manageable"),
    "manageable_snapshots_shown": page_of("manageable-snapshots", "manageable_shown"),
    "manageable_volumes": page_of("manageable-volumes", "manageable_volume"),
    "manageable_volumes_shown": page_of("manageable-volumes", "manageable_volume_shown"),
    "the_snapshot": object_of({"snapshot": ref("snapshot")}),
    "the_snapshot_shown": object_of({"snapshot": ref("snapshot_shown")}),
    "the_volume_shown": object_of({"volume": ref("volume_shown")}),
    "the_snapshot_edited": object_of({"snapshot": ref("snapshot_edited")}),
    "the_volume_edited": object_of({"volume": ref("volume_edited")}),
    "the_metadata": object_of({"metadata": METADATA}),
    "the_pair": object_of({"meta": METADATA | {"minProperties": 1, "maxProperties": 1}}),
    "the_message": object_of({"message": ref("message")}),
    "the_operation": object_of({"operation": ref("operation")}),
    "the_extension": object_of({"extension": ref("extension")}),
    "extensions": object_of({"extensions": list_of(ref("extension"))}),
    "versions": object_of({"versions": list_of(ref("version"))}),
    "health": object_of({"detailed": {"const": False}, "reasons": list_of(object_of({"reason": TEXT}))}),
    "document": {"type": "object", "required": ["openapi", "info", "paths"]},
}
