"""The built-in table: each tool's names are recognised, and names that only look like them are not."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from snapmanage.core.origins.patterns import Origin, Origins, Rename
from snapmanage.core.origins.table import BUILT_IN, KNOWN

ID = "5c07f1fa-6fcb-4b38-a4e1-d8ff1ad4ca5d"
OTHER_ID = "0f2b7c1e-5a0d-4c57-9b1f-6f2f0a4c9d11"
BERLIN = Origins(BUILT_IN, ZoneInfo("Europe/Berlin"))
HELD = {"userrefs": "1"}
SAFE, WARN, REFUSE = Rename.SAFE, Rename.WARN, Rename.REFUSE


def utc(*moment: int) -> datetime:
    year, month, day, hour, minute, second = moment
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


def recognise(name: str, driver: str, held: bool = False, parent: str | None = "") -> Origin | None:
    """Recognise a snapshot; its volume is the part before the @ unless another one is given."""
    volume = name.partition("@")[0] if parent == "" else parent
    return BERLIN.recognise(name, volume, driver, HELD if held else {})


@pytest.mark.parametrize(
    ("name", "tool", "class_name", "created_at", "rename"),
    [
        ("tank/vm@autosnap_2026-07-30_10:00:01_daily", "sanoid", "daily", utc(2026, 7, 30, 8, 0, 1), WARN),
        ("tank/vm@autosnap_2026-01-31_23:15:00_frequently", "sanoid", "frequently", utc(2026, 1, 31, 22, 15, 0), WARN),
        ("tank/vm@syncoid_nas_2021-03-27:12:30:01-GMT01:00", "syncoid", None, utc(2021, 3, 27, 11, 30, 1), REFUSE),
        ("tank/vm@syncoid_id1_nas_2021-03-27:12:30:01-GMT-05:00", "syncoid", None, utc(2021, 3, 27, 17, 30, 1), REFUSE),
        ("tank/vm@syncoid_nas_2020-01-27:12:30:01", "syncoid", None, utc(2020, 1, 27, 11, 30, 1), REFUSE),
        (
            "tank/vm@zfs-auto-snap_hourly-2020-05-24-1830",
            "zfs-auto-snapshot",
            "hourly",
            utc(2020, 5, 24, 18, 30, 0),
            WARN,
        ),
        (
            "tank/vm@zfs-auto-snap_after-backup-2023-05-01-1133",
            "zfs-auto-snapshot",
            "after-backup",
            utc(2023, 5, 1, 11, 33, 0),
            WARN,
        ),
        ("tank/vm@zrepl_20220920_092503_000", "zrepl", None, utc(2022, 9, 20, 9, 25, 3), WARN),
        ("tank/vm@hourly_20220920_092503_000", "zrepl", None, utc(2022, 9, 20, 9, 25, 3), WARN),
        ("tank/vm@zrepl_2022-09-20_09:25:03", "zrepl", None, utc(2022, 9, 20, 9, 25, 3), WARN),
        ("tank/vm@zrepl_2022-09-20T09:25:03.000Z", "zrepl", None, utc(2022, 9, 20, 9, 25, 3), WARN),
        ("tank/vm@pyznap_2019-05-01_11:33:00_frequent", "pyznap", "frequent", utc(2019, 5, 1, 9, 33, 0), WARN),
        ("tank/vm@2010-08-02_18.45.00--1m", "zfsnap", "1m", utc(2010, 8, 2, 16, 45, 0), WARN),
        ("zpool/var@monthly-2010-08-03_02.06.00--1y", "zfsnap", "1y", utc(2010, 8, 3, 0, 6, 0), WARN),
        ("tank/vm@auto-2026-01-02_03-04", "TrueNAS", None, utc(2026, 1, 2, 2, 4, 0), WARN),
        ("rpool/data/vm-100-disk-0@__replicate_100-0_1719812345__", "Proxmox", None, None, REFUSE),
        ("rpool/data/base-100-disk-0@__base__", "Proxmox", None, None, REFUSE),
        ("rpool/data/vm-100-disk-0@before-upgrade", "Proxmox", None, None, WARN),
        ("pool/containers/c1@snapshot-snap0", "Incus", None, None, REFUSE),
        (f"pool/deleted/virtual-machines/{ID}@deleted-{ID}", "Incus", None, None, REFUSE),
        ("pool/images/6f2b1d@readonly", "Incus", None, None, REFUSE),
        (f"tank/pvc-{OTHER_ID}@snapshot-{ID}", "OpenEBS", None, None, REFUSE),
        (f"tank/volume-{OTHER_ID}@snapshot-{ID}", "Cinder", None, None, REFUSE),
        (f"tank/data@snapshot-{ID}", "snapmanage", None, None, WARN),
    ],
)
def test_names_on_zfs(
    name: str, tool: str, class_name: str | None, created_at: datetime | None, rename: Rename
) -> None:
    origin = recognise(name, "zfs")

    assert origin is not None
    assert (origin.tool, origin.class_name, origin.created_at, origin.rename) == (tool, class_name, created_at, rename)
    assert origin.why


@pytest.mark.parametrize(
    "name",
    [
        "tank/vm@autosnap_2026-07-30_10:00:01",
        "tank/vm@autosnap_2026-07-30_10:00:01_fortnightly",
        "tank/vm@autosnap_2026-02-30_10:00:01_daily",
        "tank/vm@autosnap_2026-07-30_24:00:01_daily",
        "tank/vm@autosnap_2026-07-30_10:00:01_daily2",
        "tank/vm@my-autosnap_2026-07-30_10:00:01_daily",
        "tank/autosnap_2026-07-30_10:00:01_daily@monday",
        "tank/vm@syncoid_nas",
        "tank/vm@zfs-auto-snap_-2020-05-24-1830",
        "tank/vm@zfs-auto-snap_hourly-2020-05-24",
        "tank/vm@zrepl_20220920_092503_001",
        "tank/vm@auto-2026-01-02_03-04-05",
        "tank/vm@auto-2026-13-02_03-04",
        "tank/data@snapshot-snap0",
        "tank/containers@snapshot-snap0",
        f"tank/data@snapshot-{ID}-old",
        f"tank/data@snapshot-{ID[:-1]}",
        "tank/data@daily",
        "rpool/vm-disk-0@daily",
        "",
        "@",
    ],
)
def test_near_misses_on_zfs(name: str) -> None:
    assert recognise(name, "zfs") is None


@pytest.mark.parametrize("name", ["tank/vm@zrepl_20220920_092503_000", "tank/vm@auto-2026-01-02_03-04"])
def test_snapshot_with_holds_is_refused_where_a_replication_may_need_it(name: str) -> None:
    held, free = recognise(name, "zfs", held=True), recognise(name, "zfs")

    assert held is not None
    assert free is not None
    assert (held.tool, held.rename, free.rename) == (free.tool, REFUSE, WARN)
    assert "zfs holds" in held.why


@pytest.mark.parametrize(
    ("name", "parent", "tool", "rename"),
    [
        ("snap_vm-100-disk-0_before", "vm-100-disk-0", "Proxmox", REFUSE),
        ("home-snapshot12", "home", "snapper", WARN),
        ("containers_c1-snap0", "containers_c1", "Incus", REFUSE),
        (ID, f"pvc-{OTHER_ID}", "OpenEBS", REFUSE),
        (f"_snapshot-{ID}", f"volume-{OTHER_ID}", "Cinder", REFUSE),
        (f"_snapshot-{ID}", None, "Cinder", REFUSE),
        (f"_snapshot-{ID}", "data", "snapmanage", WARN),
        ("snap_vm-100_before", "vm-100", None, None),
        ("snapshot12", "home", None, None),
        ("containers_c1-snap0", "data", None, None),
        (ID, "data", None, None),
        ("autosnap_2026-07-30_10.00.01_daily", "data", None, None),
    ],
)
def test_names_on_lvm(name: str, parent: str | None, tool: str | None, rename: Rename | None) -> None:
    origin = recognise(name, "lvm", parent=parent)

    assert (origin and origin.tool, origin and origin.rename) == (tool, rename)


@pytest.mark.parametrize("driver", ["rbd", "cinder"])
@pytest.mark.parametrize(
    ("name", "tool", "rename"),
    [
        (f"{ID}@snap", "Glance", REFUSE),
        (f"csi-snap-{ID}@csi-snap-{ID}", "ceph-csi", REFUSE),
        (f"csi-vol-{ID}@csi-vol-{OTHER_ID}-temp", "ceph-csi", REFUSE),
        (f"volume-{OTHER_ID}@snapshot-{ID}", "Cinder", REFUSE),
        (f"volume-{OTHER_ID}.deleted@snapshot-{ID}", "Cinder", REFUSE),
        (f"volume-{OTHER_ID}@backup.{ID}.snap.1719812345.67", "Cinder", REFUSE),
        (f"disk-1@snapshot-{ID}", "snapmanage", WARN),
        ("container_c1@snapshot_snap0", "Incus", REFUSE),
        ("image_6f2b1d_ext4@readonly", "Incus", REFUSE),
        ("base-100-disk-0@__base__", "Proxmox", REFUSE),
        ("vm-100-disk-0@monday", "Proxmox", WARN),
        (f"{ID}@snap2", None, None),
        ("disk@snap", None, None),
        (f"{ID}_disk@snap", None, None),
        (f"disk@csi-snap-{ID}2", None, None),
        ("disk@snapshot_snap0", None, None),
        ("disk-1@daily", None, None),
    ],
)
def test_names_on_rbd(name: str, tool: str | None, rename: Rename | None, driver: str) -> None:
    origin = recognise(name, driver)

    assert (origin and origin.tool, origin and origin.rename) == (tool, rename)


@pytest.mark.parametrize(
    ("name", "tool", "created_at", "rename"),
    [
        ("timeshift-btrfs/snapshots/2026-01-02_03-04-05/@", "timeshift", utc(2026, 1, 2, 2, 4, 5), WARN),
        ("timeshift-btrfs/snapshots/2026-01-02_03-04-05/@home", "timeshift", utc(2026, 1, 2, 2, 4, 5), WARN),
        ("2026-01-02_03-04-05/@", "timeshift", utc(2026, 1, 2, 2, 4, 5), WARN),
        (".snapshots/17/snapshot", "snapper", None, WARN),
        ("srv/.snapshots/17/snapshot", "snapper", None, WARN),
        ("17/snapshot", "snapper", None, WARN),
        ("_btrbk_snap/data.20150825T153123+0200", "btrbk", utc(2015, 8, 25, 13, 31, 23), REFUSE),
        ("data.20150825T1531_1", "btrbk", utc(2015, 8, 25, 13, 31, 0), REFUSE),
        ("data.20150825", "btrbk", utc(2015, 8, 24, 22, 0, 0), REFUSE),
        ("images/100/vm-100-disk-0@before", "Proxmox", None, REFUSE),
        ("containers-snapshots/c1/snap0", "Incus", None, REFUSE),
        ("pools/default/custom-snapshots/default_v1/snap0", "Incus", None, REFUSE),
        (f".snapshots/snapshot-{ID}", "snapmanage", None, WARN),
        ("srv/snapshots/snapshot", None, None, None),
        ("data.20151325", None, None, None),
        ("data.2015082", None, None, None),
        ("daily", None, None, None),
    ],
)
def test_names_on_btrfs(name: str, tool: str | None, created_at: datetime | None, rename: Rename | None) -> None:
    origin = recognise(name, "btrfs", parent="volume")

    found = (origin.tool, origin.created_at, origin.rename) if origin else (None, None, None)
    assert found == (tool, created_at, rename)


@pytest.mark.parametrize(
    ("name", "tool"),
    [
        ("snap_vm-100-disk-0_before.qcow2", "Proxmox"),
        ("snap_vm-100-disk-0.qcow2_before.qcow2", "Proxmox"),
        ("snap-before-vm-100-disk-0.qcow2", "Proxmox"),
        (f"volume-{ID}", "Cinder"),
        (f"volume-{ID}.{OTHER_ID}", "Cinder"),
        (f"snapshot-{ID}", "snapmanage"),
        ("web.qcow2", None),
        ("web.before", None),
        ("snap-before-web.qcow2", None),
    ],
)
def test_names_of_images(name: str, tool: str | None) -> None:
    origin = recognise(name, "qcow2", parent="web.qcow2")

    assert (origin and origin.tool) == tool


def test_files_that_carry_a_tool_s_name_are_recognised_too() -> None:
    origin = recognise("disk1.img@autosnap_2026-07-30_10:00:01_daily", "file")

    assert origin is not None
    assert (origin.tool, origin.class_name) == ("sanoid", "daily")


def test_snapshot_that_snapmanage_named_can_be_taken_back_on_each_backend_without_a_cinder() -> None:
    name = f"snapshot-{ID}"
    names = {"file": f"disk@{name}", "fake": name, "btrfs": name, "zfs": f"tank/data@{name}", "other": name}

    origins = [recognise(each, driver, parent="data") for driver, each in names.items()]

    assert [origin and (origin.tool, origin.rename) for origin in origins] == [("snapmanage", WARN)] * 5


def test_every_reason_is_a_clause_for_an_operator() -> None:
    for pattern in BUILT_IN:
        assert 20 < len(pattern.why) < 255, pattern
        assert not pattern.why.endswith("."), pattern


def test_drivers_of_other_packages_have_only_the_names_of_snapmanage() -> None:
    assert KNOWN.recognise("v@autosnap_2026-07-30_10:00:01_daily", "v", "acme") is None
    assert KNOWN.recognise(f"v@snapshot-{ID}", "v", "acme") is not None
