"""The report of `lvs` is read into values."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.core.backend import Unsafe
from snapmanage.drivers.lvm.messages import group_refusal
from snapmanage.drivers.lvm.report import COLUMNS, LogicalVolume, read

THIN_SNAPSHOT = {
    "lv_uuid": "HL3tVT-NYTH-Pzpp-pp6u-Ep3c-4dsa-7lC360",
    "lv_name": "daily",
    "lv_size": "1073741824",
    "origin": "volume",
    "origin_uuid": "v3dNi8-Lfpp-WTv5-aspz-hU8Q-rTzh-JqmHUo",
    "origin_size": "",
    "pool_lv": "pool",
    "lv_tags": "gold,nightly",
    "lv_time": "1700000000",
    "lv_device_open": "0",
    "lv_role": "public,snapshot,thinsnapshot",
    "lv_layout": "thin,sparse",
    "lv_snapshot_invalid": "-1",
    "lv_merging": "0",
    "lv_health_status": "",
    "lv_skip_activation": "1",
    "lv_active_locally": "0",
    "lv_permissions": "writeable",
    "lv_allocation_locked": "0",
    "vg_missing_pv_count": "0",
    "vg_permissions": "writeable",
}
THICK_SNAPSHOT = THIN_SNAPSHOT | {
    "lv_size": "4194304",
    "origin_size": "8388608",
    "pool_lv": "",
    "lv_role": "public,snapshot,thicksnapshot",
    "lv_layout": "linear",
    "lv_snapshot_invalid": "0",
    "lv_skip_activation": "0",
}
ORPHAN = THIN_SNAPSHOT | {"origin": "", "origin_uuid": "", "lv_role": "public"}


def line(fields: dict[str, Any]) -> LogicalVolume:
    [found] = read(json.dumps({"report": [{"lv": [fields]}]}), "group")
    return found


def test_requested_columns_are_those_that_are_read() -> None:
    assert set(COLUMNS) == THIN_SNAPSHOT.keys()


def test_thin_snapshot_has_its_own_size_and_shows_pool_and_tags() -> None:
    snapshot = line(THIN_SNAPSHOT).snapshot()

    assert (snapshot.name, snapshot.parent, snapshot.size_bytes) == ("daily", "volume", 1024**3)
    assert (snapshot.identity, snapshot.parent_identity) == (THIN_SNAPSHOT["lv_uuid"], THIN_SNAPSHOT["origin_uuid"])
    assert snapshot.created_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert snapshot.extra == {"pool_lv": "pool", "lv_tags": "gold,nightly"}


def test_thick_snapshot_has_the_size_of_its_origin() -> None:
    assert line(THICK_SNAPSHOT).snapshot().size_bytes == 8388608


def test_thin_snapshot_of_an_external_origin_keeps_its_own_size() -> None:
    assert line(THIN_SNAPSHOT | {"origin_size": "16777216"}).size_bytes == 1024**3


@pytest.mark.parametrize(
    ("roles", "snapshot", "volume"),
    [
        ("public", False, True),
        ("public,origin,thickorigin", False, True),
        ("public,snapshot,thicksnapshot", True, False),
        ("public,origin,thinorigin,snapshot,thinsnapshot", True, True),
        ("public,snapshot,thinsnapshot", True, False),
        ("private", False, False),
        ("private,thin,pool,data", False, False),
    ],
)
def test_roles_distinguish_snapshots_from_volumes(roles: str, snapshot: bool, volume: bool) -> None:
    found = line(THICK_SNAPSHOT | {"lv_role": roles})

    assert (found.is_snapshot, found.is_volume) == (snapshot, volume)


def test_active_and_writable_thin_snapshot_is_a_volume_too() -> None:
    in_service = {"lv_active_locally": "1"}

    assert line(THIN_SNAPSHOT | in_service).is_volume
    assert not line(THIN_SNAPSHOT | in_service | {"lv_permissions": "read-only"}).is_volume
    assert not line(THICK_SNAPSHOT | in_service).is_volume


def test_volume_of_vdo_is_a_volume_despite_its_private_role_unlike_its_pool_and_hidden_ones() -> None:
    of_vdo = THICK_SNAPSHOT | {"lv_role": "private,origin,thickorigin", "lv_layout": "vdo,sparse,virtual"}

    assert line(of_vdo).is_volume
    assert not line(of_vdo | {"lv_layout": "vdo,pool"}).is_volume
    assert not line(of_vdo | {"lv_name": "[daily]"}).is_volume


def test_thin_snapshot_without_origin_is_recognized_by_its_mark() -> None:
    assert line(ORPHAN).is_orphan
    assert not line(ORPHAN).is_snapshot


@pytest.mark.parametrize(
    "change",
    [
        {"lv_skip_activation": "0"},
        {"lv_layout": "linear"},
        {"lv_role": "private", "lv_layout": "thin,pool"},
        {"origin": "volume"},
    ],
    ids=["unmarked", "thick", "pool", "with-origin"],
)
def test_volume_that_lacks_one_sign_of_an_orphan_is_not_an_orphan(change: dict[str, str]) -> None:
    assert not line(ORPHAN | change).is_orphan


@pytest.mark.parametrize(
    ("change", "unsafe"),
    [
        ({}, None),
        ({"lv_device_open": "1"}, Unsafe.IN_USE),
        ({"lv_snapshot_invalid": "1"}, Unsafe.UNUSABLE),
        ({"lv_merging": "1"}, Unsafe.UNUSABLE),
        ({"lv_health_status": "partial"}, Unsafe.UNUSABLE),
        ({"lv_health_status": "unknown"}, None),
        ({"lv_name": "snapshot-old"}, Unsafe.UNUSABLE),
        ({"lv_name": "x" * 117}, Unsafe.UNUSABLE),
        ({"vg_missing_pv_count": "1"}, Unsafe.UNUSABLE),
        ({"vg_permissions": "read-only"}, Unsafe.UNUSABLE),
        ({"lv_allocation_locked": "1"}, Unsafe.IN_USE),
        ({"lv_snapshot_invalid": "1", "lv_device_open": "1"}, Unsafe.UNUSABLE),
        ({"lv_device_open": "-1", "lv_snapshot_invalid": "-1", "lv_merging": "-1"}, None),
    ],
)
def test_unsafe_volume_is_reported_and_unknown_values_are_safe(change: dict[str, str], unsafe: Unsafe | None) -> None:
    found = line(THICK_SNAPSHOT | change)

    assert found.unsafe is unsafe
    assert bool(found.unsafe_reason) == (unsafe is not None)


def test_snapshots_of_a_group_that_lvm_does_not_change_are_unusable() -> None:
    reason = group_refusal("  WARNING: Unrecognised segment type later\n")

    [found] = read(json.dumps({"report": [{"lv": [THIN_SNAPSHOT]}]}), "group", reason)

    assert (found.unsafe, found.unsafe_reason) == (Unsafe.UNUSABLE, reason)
    assert group_refusal("  WARNING: This metadata update is NOT backed up.\n") is None


def test_internal_volume_is_named_without_brackets() -> None:
    assert line(THICK_SNAPSHOT | {"lv_name": "[merging]"}).name == "merging"


@pytest.mark.parametrize("time", ["", "9" * 18, "yesterday"])
def test_volume_without_a_valid_time_has_no_time(time: str) -> None:
    assert line(THICK_SNAPSHOT | {"lv_time": time}).created_at is None


def test_group_without_volumes_has_an_empty_report() -> None:
    assert read('{"report": [{"lv": []}]}', "group") == []


@pytest.mark.parametrize(
    "change", [{"lv_uuid": 7}, {"lv_size": 1e400}, {"lv_size": "-5"}, {"lv_health_status": {"a": 1}}, {"origin": None}]
)
def test_report_with_a_value_of_another_type_is_an_error_that_is_retried(change: dict[str, Any]) -> None:
    with pytest.raises(errors.BackendError, match="unreadable"):
        line(THIN_SNAPSHOT | change)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "", "{", "[]", '{"report": 1}', '{"report": [{"lv": [{}]}]}', '{"report": [1]}']
)
def test_unreadable_report_is_an_error_that_is_retried(text: str) -> None:
    with pytest.raises(errors.BackendError, match="unreadable"):
        read(text, "group")
