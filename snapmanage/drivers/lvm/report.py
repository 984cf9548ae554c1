"""Logical volumes, read from the report of `lvs`.

A snapshot is a logical volume with the role `snapshot`. A thin snapshot loses that role when its origin is removed.
Then one mark alone distinguishes it from an ordinary thin volume: LVM makes thin snapshots so that they are skipped at
activation, and thin volumes not. Such an orphan isn't listed, but it is found by its name.

A thin snapshot can also be a volume, such as a linked clone or a restored volume: see `is_volume`.
"""

import contextlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, BackendVolume, Unsafe
from snapmanage.drivers.lvm import names

COLUMNS = (
    *("lv_uuid", "lv_name", "lv_size", "origin", "origin_uuid", "origin_size", "pool_lv", "lv_tags", "lv_time"),
    *("lv_device_open", "lv_role", "lv_layout", "lv_snapshot_invalid", "lv_merging", "lv_health_status"),
    *("lv_skip_activation", "lv_active_locally", "lv_permissions", "lv_allocation_locked"),
    *("vg_missing_pv_count", "vg_permissions"),
)
# Settings that `read` relies on; they override the host's lvm.conf. Commands get `messages.CONFIG` with them.
CONFIG = (
    'report{time_format="%s" list_item_separator="," compact_output=0 compact_output_cols="" lvs_sort="lv_name" '
    'aligned=1 buffered=1 headings=1 separator=" " prefixes=0 quoted=1 columns_as_rows=0 binary_values_as_numeric=1 '
    'mark_hidden_devices=1} global{units="b" suffix=0}'
)


@dataclass(frozen=True)
class LogicalVolume:
    """One line of the report.

    `skipped` means skipped at activation, the mark of thin snapshots. `in_service` means active on this host and
    writable. `unsafe` and `unsafe_reason` are set for volumes too, but used for snapshots alone.
    """

    name: str
    identity: str
    size_bytes: int
    origin: str | None
    origin_identity: str | None
    roles: frozenset[str]
    layout: frozenset[str]
    hidden: bool
    skipped: bool
    in_service: bool
    created_at: datetime | None
    unsafe: Unsafe | None
    unsafe_reason: str
    extra: Mapping[str, str]

    @property
    def is_snapshot(self) -> bool:
        return "snapshot" in self.roles

    @property
    def is_orphan(self) -> bool:
        """Return whether LVM made this thin volume as a snapshot, and its origin is gone."""
        return "public" in self.roles and "thin" in self.layout and self.origin is None and self.skipped

    @property
    def is_volume(self) -> bool:
        """Return whether it can have snapshots: it is an ordinary volume, or a thin snapshot that serves as one.

        A thin snapshot serves as a volume if it has snapshots of its own, or is active and writable.
        A thick snapshot never does: LVM makes no snapshots of it. A volume of VDO has the role `private`.
        """
        is_vdo_volume = "vdo" in self.layout and "pool" not in self.layout
        if self.hidden or ("public" not in self.roles and not is_vdo_volume):
            return False
        return not self.is_snapshot or "origin" in self.roles or ("thinsnapshot" in self.roles and self.in_service)

    @property
    def is_listed_volume(self) -> bool:
        """Return whether a list of volumes has it: of thin snapshots, only those that have snapshots of their own."""
        return self.is_volume and (not self.is_snapshot or "origin" in self.roles)

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
        return BackendVolume(self.name, self.identity, self.size_bytes, self.created_at, extra=self.extra)


def read(text: str, group: str, group_refusal: str | None = None) -> list[LogicalVolume]:
    """Return the logical volumes of a report in JSON; raise `BackendError` where it is unreadable.

    `group_refusal` is the reason why LVM renames nothing in the group, taken from its warnings; see `messages`.
    """
    return [_line(fields, group, group_refusal) for fields in _lines(text)]


def read_named(
    text: str, group: str, group_refusal: str | None, wanted: Collection[str]
) -> dict[str, LogicalVolume | errors.BackendError]:
    """Return those logical volumes of a report that have the names, by name; other lines are not read.

    An unreadable line is an error of that name alone; an unreadable report raises `BackendError`.
    """
    found: dict[str, LogicalVolume | errors.BackendError] = {}
    for fields in _lines(text):
        if (name := _name(fields)) in wanted:
            try:
                found[name] = _line(fields, group, group_refusal)
            except errors.BackendError as unreadable:
                found[name] = unreadable
    return found


def _lines(text: str) -> list[Mapping[str, Any]]:
    """Return the lines of a report; each has a name."""
    try:
        lines = [fields for report in json.loads(text)["report"] for fields in report.get("lv", ())]
        for fields in lines:
            _text(fields["lv_name"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as failure:
        raise _unreadable(failure, text) from failure
    return lines


def _line(fields: Mapping[str, Any], group: str, group_refusal: str | None) -> LogicalVolume:
    try:
        texts = {column: _text(fields[column]) for column in COLUMNS}
        return _logical_volume(texts, _safety(texts, group, group_refusal))
    except (ValueError, KeyError, TypeError, AttributeError) as failure:
        raise _unreadable(failure, str(fields)) from failure


def _unreadable(failure: Exception, text: str) -> errors.BackendError:
    return errors.BackendError(f"the report of lvs is unreadable ({failure!r}): {text[:200]!r}")


def _text(value: Any) -> str:
    """Return a value of the report; LVM writes every value as a text."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _logical_volume(fields: Mapping[str, str], safety: tuple[Unsafe | None, str]) -> LogicalVolume:
    roles = _set(fields["lv_role"])
    # The size of a thick snapshot is its origin's; `lv_size` is the room for overwritten data.
    origin_size = fields["origin_size"] if "thicksnapshot" in roles else ""
    unsafe, reason = safety
    return LogicalVolume(
        name=_name(fields),
        identity=fields["lv_uuid"],
        size_bytes=_size(origin_size or fields["lv_size"]),
        origin=fields["origin"].strip("[]") or None,
        origin_identity=fields["origin_uuid"] or None,
        roles=roles,
        layout=_set(fields["lv_layout"]),
        hidden=fields["lv_name"].startswith("["),
        skipped=_true(fields, "lv_skip_activation"),
        in_service=_true(fields, "lv_active_locally") and fields["lv_permissions"] == "writeable",
        created_at=_time(fields["lv_time"]),
        unsafe=unsafe,
        unsafe_reason=reason,
        extra={key: fields[key] for key in ("pool_lv", "lv_tags") if fields[key]},
    )


def _size(text: str) -> int:
    if (value := int(text)) < 0:
        raise ValueError(f"{value} bytes")
    return value


def _name(fields: Mapping[str, str]) -> str:
    return fields["lv_name"].strip("[]")


def _time(text: str) -> datetime | None:
    """Return the time of creation; None where LVM doesn't know it, or reports a number outside of the calendar."""
    with contextlib.suppress(ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(int(text), UTC)
    return None


def _safety(fields: Mapping[str, str], group: str, group_refusal: str | None) -> tuple[Unsafe | None, str]:
    """Return whether and why it can't be renamed; listings and searches by name share this decision."""
    if reason := _flaw(fields, group) or group_refusal:
        return Unsafe.UNUSABLE, reason
    if _true(fields, "lv_allocation_locked"):
        return Unsafe.IN_USE, "LVM has locked it, as pvmove does while it moves the data"
    if _true(fields, "lv_device_open"):
        return Unsafe.IN_USE, "its device is open"
    return None, ""


def _flaw(fields: Mapping[str, str], group: str) -> str | None:
    if _true(fields, "lv_merging"):
        return "it is being merged into its origin, or will be at the next activation"
    if _true(fields, "lv_snapshot_invalid"):
        return "it has overflowed and is invalid; its data are lost"
    # LVM knows the health of active logical volumes only.
    if fields["lv_health_status"] not in ("", "unknown"):
        return f"LVM reports its health as {fields['lv_health_status']!r}"
    if reason := names.refusal(group, _name(fields)):
        return f"its name couldn't be restored at unmanage: {reason}; rename it first"
    if fields["vg_missing_pv_count"] != "0":
        return "its volume group lacks a physical volume, and LVM changes no such group; attach it again"
    if fields["vg_permissions"] != "writeable":
        return "its volume group is read-only; make it writable: vgchange"
    return None


def _true(fields: Mapping[str, str], column: str) -> bool:
    """Return whether the column is 1. The value -1, unknown, means that no device exists that could be open or full."""
    return fields[column] == "1"


def _set(text: str) -> frozenset[str]:
    return frozenset(filter(None, text.split(",")))
