"""The JSON Schemas of answers about servers, quotas and volume types, and of the summary of volumes."""

from typing import Any

from snapmanage.api.answers.shapes import COUNT, ID, NULL, TEXT, TIME, list_of, object_of, or_null, ref

_BOOLEAN = {"type": "boolean"}
_LIMIT = {"type": "integer", "minimum": -1}
_NO_LIMIT, _NOTHING = {"const": -1}, {"const": 0}
_STATUS = {"enum": ["enabled", "disabled"]}
_STATE = {"enum": ["up", "down"]}
_CHANGED = {"host": TEXT, "service": {"const": ""}, "binary": TEXT, "status": _STATUS, "disabled": _BOOLEAN}
_TYPES_KINDS = [f"{kind}___DEFAULT__" for kind in ("volumes", "gigabytes", "snapshots")]
_KINDS = ["volumes", "per_volume_gigabytes", "snapshots", "gigabytes", "backups", "backup_gigabytes", *_TYPES_KINDS]
_KINDS += ["groups", "failed_records"]
_USAGE = object_of({"limit": _LIMIT, "in_use": COUNT, "reserved": {"const": 0}})
_PER_KIND = object_of({"id": TEXT} | dict.fromkeys(_KINDS, _LIMIT))
_USAGE_PER_KIND = object_of({"id": TEXT} | dict.fromkeys(_KINDS, ref("quota_usage")))

# Answers about servers.
_SERVICES: dict[str, dict[str, Any]] = {
    "service": object_of(
        {
            "binary": TEXT,
            "host": TEXT,
            "zone": TEXT,
            "status": _STATUS,
            "state": _STATE,
            "updated_at": TIME,
            "disabled_reason": or_null(TEXT),
            "replication_status": {"const": "disabled"},
            "active_backend_id": NULL,
            "frozen": {"const": False},
        },
        cluster=NULL,
        backend_state=_STATE,
    ),
    "services": object_of({"services": list_of(ref("service"))}),
    "changed_service": object_of(_CHANGED),
    "disabled_service": object_of(_CHANGED | {"disabled_reason": TEXT}),
    "capabilities": object_of(
        {
            "volume_backend_name": TEXT,
            "vendor_name": TEXT,
            "driver_version": TEXT,
            "storage_protocol": TEXT,
            "backend_state": {"const": "up"},
            "total_capacity_gb": {"const": "unknown"},
            "free_capacity_gb": {"const": "unknown"},
            "reserved_percentage": {"const": 0},
            "QoS_support": {"const": False},
            "multiattach": {"const": False},
            "thin_provisioning_support": {"const": False},
            "timestamp": TIME,
            "updated": TIME,
        }
    ),
    "pools": object_of({"pools": list_of(object_of({"name": TEXT}, capabilities=ref("capabilities")))}),
    "zones": object_of(
        {
            "availabilityZoneInfo": list_of(
                object_of({"zoneName": TEXT, "zoneState": object_of({"available": _BOOLEAN})})
            )
        }
    ),
}
# By the names that the routes table uses; schemas refer to each other by these names too.
SCHEMAS: dict[str, dict[str, Any]] = _SERVICES | {
    "quota_usage": _USAGE,
    "the_quota_set": object_of({"quota_set": _PER_KIND}),
    "shown_quota_set": object_of({"quota_set": {"oneOf": [_PER_KIND, _USAGE_PER_KIND]}}),
    "changed_quota_set": object_of({"quota_set": object_of(dict.fromkeys(_KINDS, _LIMIT))}),
    "limits": object_of(
        {
            "limits": object_of(
                {
                    "rate": {"const": []},
                    "absolute": object_of(
                        {
                            **dict.fromkeys(
                                ("maxTotalVolumes", "maxTotalSnapshots", "maxTotalVolumeGigabytes"), _LIMIT
                            ),
                            **dict.fromkeys(("maxTotalBackups", "maxTotalBackupGigabytes"), _NO_LIMIT),
                            **dict.fromkeys(("totalVolumesUsed", "totalGigabytesUsed", "totalSnapshotsUsed"), COUNT),
                            **dict.fromkeys(("totalBackupsUsed", "totalBackupGigabytesUsed"), _NOTHING),
                        }
                    ),
                }
            )
        }
    ),
    "volume_type": object_of(
        {
            "id": ID,
            "name": TEXT,
            "is_public": {"const": True},
            "description": TEXT,
            "extra_specs": {"const": {}},
            "os-volume-type-access:is_public": {"const": True},
        },
        qos_specs_id=NULL,
    ),
    "types": object_of({"volume_types": list_of(ref("volume_type"))}),
    "the_type": object_of({"volume_type": ref("volume_type")}),
    "volume_summary": object_of(
        {
            "volume-summary": object_of(
                {"total_count": COUNT, "total_size": COUNT},
                metadata={"type": "object", "additionalProperties": list_of(TEXT)},
            )
        }
    ),
}
