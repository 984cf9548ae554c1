"""The client recognises the programs that made snapshots, if the service does not show them."""

from typing import Any

import pytest

from snapmanage.client.selection.found import Found

ID = "c40bb7dc-e61f-4c23-9bdb-fb1a66e4fc99"
DAILY = "autosnap_2026-07-30_10:00:01_daily"


def found(name: str, parent: str | None = "disk-1", **fields: Any) -> Found:
    """Return an entry as Cinder shows it."""
    source = {"source-name": parent} if parent else {}
    entry = {"reference": {"source-name": name}, "size": 1, "safe_to_manage": True, "source_reference": source}
    return Found.of("storage-1@lvm#lvm", entry | {"cinder_id": None, "extra_info": None} | fields)


@pytest.mark.parametrize(
    ("name", "parent", "origin", "rename"),
    [
        (DAILY, "disk-1", "sanoid", "warn"),
        ("tank/disk-1@syncoid_nas_2020-01-27:12:30:01", "tank/disk-1", "syncoid", "refuse"),
        (f"csi-snap-{ID}", "csi-vol-1", "ceph-csi", "refuse"),
        ("before-upgrade", "vm-100-disk-0", "Proxmox", "warn"),
        (f"backup.{ID}.snap.1", f"volume-{ID}", "Cinder", "refuse"),
        ("disk-1-snapshot-1", "disk-1", None, "safe"),
        ("archive.20260101", "disk-1", None, "safe"),
    ],
)
def test_program_is_recognised_by_the_name(name: str, parent: str, origin: str | None, rename: str) -> None:
    entry = found(name, parent)

    assert (entry.origin, entry.rename) == (origin, rename)


def test_class_and_time_are_read_from_the_name() -> None:
    entry = found(DAILY)

    assert entry.origin_class == "daily"
    assert entry.created_at is not None
    assert entry.created_at.isoformat() == "2026-07-30T10:00:01+00:00"


@pytest.mark.parametrize("parent", [f"volume-{ID}", "disk-1", None])
def test_snapshot_that_the_service_has_unmanaged_can_be_managed_again(parent: str | None) -> None:
    assert found(f"snapshot-{ID}", parent).rename == "warn"


@pytest.mark.parametrize(
    "fields",
    [
        {"cinder_id": ID, "reason_not_safe": "already managed", "safe_to_manage": False},
        {"reason_not_safe": "already managed", "safe_to_manage": False},
        {"snapmanage:identity": None},
    ],
    ids=["managed", "managed by another project", "service that looks for origins"],
)
def test_nothing_is_recognised_where_the_service_knows_better(fields: dict[str, Any]) -> None:
    assert found(DAILY, **fields).origin is None


def test_description_of_the_program_is_read() -> None:
    entry = found("17/snapshot", extra_info={"origin": "snapper", "origin-description": "zypp(zypper)"})

    assert entry.description == "zypp(zypper)"


def test_origin_of_the_service_counts() -> None:
    entry = found(DAILY, extra_info={"origin": "mine", "origin-rename": "safe"})

    assert (entry.origin, entry.rename, entry.origin_class) == ("mine", "safe", None)
