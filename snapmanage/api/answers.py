"""The form of refusals, and the JSON Schemas of all other answers, for the OpenAPI document.

`views` makes the answers; tests check that both agree.
"""

from typing import Any

from snapmanage.core.records import Status
from snapmanage.core.values.text import cut, printable

# The names in the Block Storage API; every other status is a computeFault.
FAULTS = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    422: "unprocessableEntity",
    429: "overLimit",
    503: "serviceUnavailable",
}
# Answers are data for programs: no cache may keep them, and no browser may show them or guess their type.
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
# Of each answer with the status 503.
RETRY_LATER = {"Retry-After": "5"}
LONGEST_TEXT = 1000


def fault(status: int, text: str) -> dict[str, Any]:
    """Return the body of a refusal; its text, which may repeat a value of the request, is printable and short."""
    message = cut(printable(text[: LONGEST_TEXT + 1]), LONGEST_TEXT)
    return {_fault_name(status): {"code": status, "message": message}}


def fault_schema(status: int) -> dict[str, Any]:
    return _object({_fault_name(status): _object({"code": {"const": status}, "message": {"type": "string"}})})


def _fault_name(status: int) -> str:
    return FAULTS.get(status, "computeFault")


def _object(properties: dict[str, Any], **sometimes: Any) -> dict[str, Any]:
    """Return the schema of an object with exactly these properties; those in `sometimes` are optional."""
    return {
        "type": "object",
        "required": list(properties),
        "additionalProperties": False,
        "properties": properties | sometimes,
    }


def _list(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return schema | {"type": [schema["type"], "null"]}


def _page(name: str, entry: str) -> dict[str, Any]:
    """Return the schema of a page: entries, and optionally a link to the next page and a count."""
    return _object({name: _list(_ref(entry))}, **{f"{name}_links": _ref("links"), "count": _COUNT})


_TEXT = {"type": "string"}
_NULL = {"type": "null"}
_COUNT = {"type": "integer", "minimum": 0}
_ID = {"type": "string", "format": "uuid"}
_TIME = {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{6}$", "description": "In UTC."}
_STATUS = {"enum": [each.value for each in Status]}
_METADATA = {"type": "object", "additionalProperties": _TEXT}
_REFERENCE = {"type": "object", "examples": [{"source-name": "disk1.img@daily"}]}

_SNAPSHOT = {
    "id": _ID,
    "created_at": _TIME,
    "updated_at": _or_null(_TIME),
    "name": _or_null(_TEXT),
    "description": _or_null(_TEXT),
    "volume_id": _ID,
    "status": _STATUS,
    "size": _COUNT,
    "metadata": _METADATA,
}
_OWN = {
    "snapmanage:reference": _REFERENCE,
    "snapmanage:backend_name": _or_null(_TEXT),
    "snapmanage:original_name": _or_null(_TEXT),
    "snapmanage:reason": _or_null(_TEXT),
    "snapmanage:reason_code": _or_null(_TEXT),
    "snapmanage:host": _TEXT,
}
_SNAPSHOT_ADDITIONS = _OWN | {
    "group_snapshot_id": _NULL,
    "user_id": _or_null(_TEXT),
    "consumes_quota": {"type": "boolean"},
}
_VOLUME = {"id": _ID, "name": _or_null(_TEXT), "links": _ref("links")}
_VOLUME_SHOWN = _VOLUME | {
    "description": _or_null(_TEXT),
    "status": _STATUS,
    "size": _COUNT,
    "metadata": _METADATA,
    "created_at": _TIME,
    "updated_at": _or_null(_TIME),
    "user_id": _or_null(_TEXT),
    "availability_zone": _NULL,
    "bootable": {"const": "false"},
    "encrypted": {"const": False},
    "multiattach": {"const": False},
    "attachments": {"const": []},
    "volume_type": _NULL,
    "snapshot_id": _NULL,
    "source_volid": _NULL,
    "consistencygroup_id": _NULL,
    "replication_status": _NULL,
}
_VOLUME_ADDITIONS = _OWN | {
    "migration_status": _NULL,
    "group_id": _NULL,
    "provider_id": _NULL,
    "service_uuid": _NULL,
    "shared_targets": {"const": False},
    "cluster_name": _NULL,
    "volume_type_id": _NULL,
    "encryption_key_id": _NULL,
    "consumes_quota": {"const": True},
}
_MANAGEABLE = {
    "reference": _REFERENCE,
    "size": _COUNT,
    "safe_to_manage": {"type": "boolean"},
    "source_reference": _REFERENCE,
}

# By the names that the routes table uses; schemas refer to each other by these names too.
SCHEMAS: dict[str, dict[str, Any]] = {
    "links": _list(_object({"rel": _TEXT, "href": {"type": "string", "format": "uri"}})),
    "snapshot": _object(_SNAPSHOT),
    "snapshot_shown": _object(
        _SNAPSHOT
        | {
            "os-extended-snapshot-attributes:progress": {"enum": ["0%", "100%"]},
            "os-extended-snapshot-attributes:project_id": _TEXT,
        },
        **_SNAPSHOT_ADDITIONS,
    ),
    "snapshot_edited": _object(_SNAPSHOT, **_SNAPSHOT_ADDITIONS),
    "volume": _object(_VOLUME),
    "volume_shown": _object(
        _VOLUME_SHOWN | {"os-vol-tenant-attr:tenant_id": _TEXT},
        **_VOLUME_ADDITIONS,
        **{
            "os-vol-host-attr:host": _TEXT,
            "os-vol-mig-status-attr:migstat": _NULL,
            "os-vol-mig-status-attr:name_id": _NULL,
        },
    ),
    "volume_edited": _object(_VOLUME_SHOWN, **_VOLUME_ADDITIONS),
    "message": _object(
        {
            "id": _ID,
            "event_id": _TEXT,
            "user_message": _TEXT,
            "message_level": _TEXT,
            "resource_type": _TEXT,
            "resource_uuid": _ID,
            "created_at": _TIME,
            "guaranteed_until": _TIME,
            "request_id": _or_null(_TEXT),
            "links": _ref("links"),
        }
    ),
    "operation": _object(
        {
            "snapshot_id": _ID,
            "status": _STATUS,
            "attempt": _COUNT,
            "max_attempts": _COUNT,
            "reference": _REFERENCE,
            "backend_name": _or_null(_TEXT),
            "backend_id": _or_null(_TEXT),
            "backend_created_at": _or_null(_TIME),
            "reason": _or_null(_TEXT),
            "reason_code": _or_null(_TEXT),
            "next_attempt_at": _or_null(_TIME),
            "events": _list(_ref("event")),
        }
    ),
    "event": _object(
        {
            "event_type": _TEXT,
            "event_id": _ID,
            "generation": _COUNT,
            "occurred_at": {"type": "string", "format": "date-time"},
            "status": _TEXT,
            "attempt": _COUNT,
            "reason": _or_null(_object({"code": _TEXT, "text": _TEXT})),
        }
    ),
    "manageable": _object(_MANAGEABLE),
    "manageable_shown": _object(
        _MANAGEABLE
        | {
            "reason_not_safe": _or_null(_TEXT),
            "extra_info": {"type": ["object", "null"], "additionalProperties": _TEXT},
            "cinder_id": _or_null(_ID),
        }
    ),
    "extension": _object(
        {"name": _TEXT, "alias": _TEXT, "description": _TEXT, "updated": _TEXT, "links": {"const": []}}
    ),
    "version": _object(
        {
            "id": _TEXT,
            "status": _TEXT,
            "version": _TEXT,
            "min_version": _TEXT,
            "updated": _TEXT,
            "links": _ref("links"),
            "media-types": _list(_object({"base": _TEXT, "type": _TEXT})),
        }
    ),
    "snapshots": _page("snapshots", "snapshot"),
    "snapshots_shown": _page("snapshots", "snapshot_shown"),
    "volumes": _page("volumes", "volume"),
    "volumes_shown": _page("volumes", "volume_shown"),
    "messages": _page("messages", "message"),
    "manageable_snapshots": _page("manageable-snapshots", "manageable"),
    "manageable_snapshots_shown": _page("manageable-snapshots", "manageable_shown"),
    "the_snapshot": _object({"snapshot": _ref("snapshot")}),
    "the_snapshot_shown": _object({"snapshot": _ref("snapshot_shown")}),
    "the_volume_shown": _object({"volume": _ref("volume_shown")}),
    "the_snapshot_edited": _object({"snapshot": _ref("snapshot_edited")}),
    "the_volume_edited": _object({"volume": _ref("volume_edited")}),
    "the_metadata": _object({"metadata": _METADATA}),
    "the_pair": _object({"meta": _METADATA | {"minProperties": 1, "maxProperties": 1}}),
    "the_message": _object({"message": _ref("message")}),
    "the_operation": _object({"operation": _ref("operation")}),
    "the_extension": _object({"extension": _ref("extension")}),
    "extensions": _object({"extensions": _list(_ref("extension"))}),
    "versions": _object({"versions": _list(_ref("version"))}),
    "health": _object({"detailed": {"const": False}, "reasons": _list(_object({"reason": _TEXT}))}),
    "document": {"type": "object", "required": ["openapi", "info", "paths"]},
}
