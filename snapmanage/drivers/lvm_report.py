"""What `lvs` reports, as values.

A snapshot is what has the role `snapshot`. A thin snapshot whose origin is removed loses that role,
and nothing but one mark is left to tell it from an ordinary thin volume: LVM makes thin snapshots so
that they are skipped at activation, and thin volumes not. Such an orphan isn't listed, but a caller
who names it may have it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, BackendVolume, Unsafe

COLUMNS = (
    *("lv_uuid", "lv_name", "lv_size", "origin", "origin_uuid", "origin_size", "pool_lv", "lv_tags", "lv_time"),
    *("lv_device_open", "lv_role", "lv_layout", "lv_snapshot_invalid", "lv_merging", "lv_health_status"),
    "lv_skip_activation",
)
# Whatever lvm.conf says of reports, these two are what `read` understands.
CONFIG = 'report{time_format="%s" list_item_separator=","}'


@dataclass(frozen=True)
class LogicalVolume:
    """A line of the report. `unsafe` is told of snapshots and volumes alike."""

    name: str
    identity: str
    size_bytes: int
    origin: str | None
    origin_identity: str | None
    roles: frozenset[str]
    layout: frozenset[str]
    skipped: bool
    created_at: datetime | None
    unsafe: Unsafe | None
    unsafe_reason: str
    extra: Mapping[str, str]

    @property
    def is_snapshot(self) -> bool:
        return "snapshot" in self.roles

    @property
    def is_orphan(self) -> bool:
        """Whether it is a thin volume that LVM made as a snapshot, and whose origin is gone."""
        return "public" in self.roles and "thin" in self.layout and self.origin is None and self.skipped

    @property
    def is_volume(self) -> bool:
        return "public" in self.roles and not self.is_snapshot

    def snapshot(self) -> BackendSnapshot:
        return BackendSnapshot(
            name=self.name,
            identity=self.identity,
            size_bytes=self.size_bytes,
            parent=self.origin,
            parent_identity=self.origin_identity,
            created_at=self.created_at,
            unsafe=self.unsafe,
            unsafe_reason=self.unsafe_reason,
            extra=self.extra,
        )

    def volume(self) -> BackendVolume:
        return BackendVolume(self.name, self.identity, self.size_bytes)


def read(text: str) -> list[LogicalVolume]:
    """The logical volumes of a report in JSON; `BackendError` where it can't be read."""
    try:
        return [_line(fields) for report in json.loads(text)["report"] for fields in report.get("lv", ())]
    except (ValueError, KeyError, TypeError, AttributeError) as failure:
        raise errors.BackendError(f"lvs reported something unreadable ({failure!r}): {text[:200]!r}") from failure


def _line(fields: Mapping[str, Any]) -> LogicalVolume:
    roles = _set(fields["lv_role"])
    # The size of a thick snapshot is its origin's; its own is the store of what was overwritten.
    size = fields["origin_size"] if "thicksnapshot" in roles else fields["lv_size"]
    unsafe, reason = _danger(fields)
    return LogicalVolume(
        name=fields["lv_name"].strip("[]"),
        identity=fields["lv_uuid"],
        size_bytes=int(size),
        origin=fields["origin"].strip("[]") or None,
        origin_identity=fields["origin_uuid"] or None,
        roles=roles,
        layout=_set(fields["lv_layout"]),
        skipped=_true(fields, "lv_skip_activation"),
        created_at=datetime.fromtimestamp(int(fields["lv_time"]), UTC) if fields["lv_time"] else None,
        unsafe=unsafe,
        unsafe_reason=reason,
        extra={key: fields[key] for key in ("pool_lv", "lv_tags") if fields[key]},
    )


def _danger(fields: Mapping[str, Any]) -> tuple[Unsafe | None, str]:
    if _true(fields, "lv_merging"):
        return Unsafe.UNUSABLE, "it is being merged into its origin, or will be at the next activation"
    if _true(fields, "lv_snapshot_invalid"):
        return Unsafe.UNUSABLE, "it has overflowed and is invalid; its data are lost"
    if fields["lv_health_status"]:
        return Unsafe.UNUSABLE, f"LVM reports its health as {fields['lv_health_status']!r}"
    if _true(fields, "lv_device_open"):
        return Unsafe.IN_USE, "its device is open"
    return None, ""


def _true(fields: Mapping[str, Any], column: str) -> bool:
    """Whether a column says yes; -1, unknown, is no: there is no device, which could be open or overflowed."""
    return bool(fields[column] == "1")


def _set(text: str) -> frozenset[str]:
    return frozenset(filter(None, text.split(",")))
