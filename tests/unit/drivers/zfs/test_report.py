"""The report of `zfs get` of OpenZFS, with volumes and bookmarks, which zfs-fuse lacks."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from snapmanage.core.backend import GIB, Unsafe
from snapmanage.drivers.system.mounts import Mount
from snapmanage.drivers.zfs import commands, mounts, report
from snapmanage.errors import BackendError

BORN = 1_700_000_000


def reported(name: str, **properties: str) -> str:
    """Return the lines on one object, by default a snapshot of a file system."""
    usual = {"type": "snapshot", "creation": str(BORN), "guid": "77", "createtxg": "12", "objsetid": "30"}
    values = usual | {"referenced": "24576", "volsize": "-", "userrefs": "0", "defer_destroy": "off"} | properties
    return "".join(f"{name}\t{key}\t{values[key]}\n" for key in commands.PROPERTIES)


def test_snapshot_of_a_volume_has_the_size_of_the_volume() -> None:
    volume = reported("tank/v", type="volume", guid="5", createtxg="9", volsize=str(2 * GIB), userrefs="-")
    found = report.read(volume + reported("tank/v@a", volsize=str(GIB)))

    assert found["tank/v"].size_bytes == 2 * GIB
    snapshot = found["tank/v@a"].snapshot(found["tank/v"], "", 45)
    assert (snapshot.size_bytes, snapshot.parent, snapshot.parent_identity) == (GIB, "tank/v", "5-9")
    assert (snapshot.identity, snapshot.created_at) == ("77-12-30", datetime.fromtimestamp(BORN, UTC))


def test_snapshot_of_a_file_system_has_the_size_of_the_data_that_it_refers_to() -> None:
    [found] = report.read(reported("tank/v@a")).values()

    assert found.size_bytes == 24576


@pytest.mark.parametrize("creation", ["9" * 30, str(2**62), str(2**64 - 1)])
def test_object_with_a_time_outside_of_the_calendar_is_unusable_and_hides_no_other(creation: str) -> None:
    found = report.read(reported("tank/v@odd", creation=creation) + reported("tank/v@a"))

    assert found["tank/v@odd"].snapshot(None, "", 45).unsafe is Unsafe.UNUSABLE
    assert found["tank/v@a"].snapshot(None, "", 45).unsafe is None


def test_bookmarks_and_illegal_names_are_left_out() -> None:
    bookmark = reported("tank/v#mark", type="bookmark", referenced="-", userrefs="-", defer_destroy="-")
    temporary = reported("tank/v/%recv", type="filesystem") + reported("tank/v@%recv")

    assert list(report.read(bookmark + temporary + reported("tank/v@a b"))) == ["tank/v@a b"]


def test_snapshot_that_waits_to_be_destroyed_is_unusable_and_shows_its_holds() -> None:
    [found] = report.read(reported("tank/v@a", defer_destroy="on", userrefs="2")).values()

    snapshot = found.snapshot(None, "", 45)

    assert (snapshot.unsafe, snapshot.extra) == (Unsafe.UNUSABLE, {"userrefs": "2"})


def test_mounted_snapshot_is_in_use_unless_zfs_itself_mounted_it() -> None:
    known = [
        Mount(1, "0:1", b"/", b"/tank/v/.zfs/snapshot/a", "zfs", b"tank/v@a"),
        Mount(2, "0:2", b"/", b"/mnt", "zfs", b"tank/v@b"),
        Mount(3, "0:3", b"/", b"/elsewhere", "tmpfs", b"tank/v@c"),
    ]
    assert mounts.mounted_snapshots(known) == {"tank/v@b": "/mnt"}

    [found] = report.read(reported("tank/v@b")).values()

    assert found.snapshot(None, "/mnt", 45).unsafe is Unsafe.IN_USE


def test_datasets_are_found_by_their_mounts_and_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "DEVICES", tmp_path)
    (tmp_path / "tank/v/inner").mkdir(parents=True)
    (tmp_path / "tank/v/inner/volume").symlink_to("/dev/zd0")
    sources = (b"tank/v", b"tank/v/fs", b"tank/v@snapshot", b"tank/other", b"tank/v/\xff", b"/dev/sda1", b"tmpfs")
    known = [Mount(1, "0:1", b"/", b"/mnt", "zfs", source) for source in sources]

    assert mounts.visible_datasets(known, "tank/v") == ["tank/v", "tank/v/fs", "tank/v/inner/volume"]


@pytest.mark.parametrize("text", ["internal error", "tank\ttype\tfilesystem\tmore\n"])
def test_unreadable_report_is_an_error_that_is_retried(text: str) -> None:
    with pytest.raises(BackendError, match="unreadable"):
        report.read(text)


@pytest.mark.parametrize("key", ["guid", "createtxg", "objsetid", "referenced", "creation", "userrefs"])
def test_object_with_an_unreadable_value_is_unusable_and_hides_no_other(key: str) -> None:
    found = report.read(reported("tank/v@odd", **{key: "1K"}) + reported("tank/v@a"))

    odd, well = (found[name].snapshot(None, "", 45) for name in ("tank/v@odd", "tank/v@a"))

    assert (odd.unsafe, odd.identity) == (Unsafe.UNUSABLE, "unreadable:tank/v@odd")
    assert (well.unsafe, well.identity) == (None, "77-12-30")
