"""`snapmanage-manage reconcile` reports differences between records and backends, and fixes them."""

import sqlite3
from contextlib import closing

import pytest

from snapmanage.testing.waiting import until
from tests.functional.cmd.programs import (
    SNAPSHOTS,
    VOLUME,
    Standalone,
    await_settled,
    manage,
    manage_snapshot,
    register_volume,
    request_manage,
)


def test_managed_snapshot_agrees_with_its_backend(standalone: Standalone) -> None:
    client = standalone.start()
    manage_snapshot(client)

    ended = manage(standalone, "reconcile")

    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr


def test_renamed_snapshot_is_reported_and_renamed_back_only_with_fix(standalone: Standalone) -> None:
    client = standalone.start()
    snapshot_id = manage_snapshot(client)
    name = f"{VOLUME}@snapshot-{snapshot_id}"
    (standalone.backend / name).rename(standalone.backend / f"{VOLUME}@mine")

    ended = manage(standalone, "reconcile")
    assert ended.returncode == 2
    assert ended.stdout.startswith(f"RENAMED: snapshot {snapshot_id} on localhost@files")
    assert name not in standalone.files()

    assert f"Renamed it back to {name!r}." in manage(standalone, "reconcile", "--fix").stdout
    assert name in standalone.files()
    assert manage(standalone, "reconcile").returncode == 0


@pytest.mark.parametrize(("option", "warned"), [("--fix", False), ("--mend", True)])
def test_old_name_of_fix_still_works_and_prints_a_warning(standalone: Standalone, option: str, warned: bool) -> None:
    client = standalone.start()
    snapshot_id = manage_snapshot(client)
    name = f"{VOLUME}@snapshot-{snapshot_id}"
    (standalone.backend / name).rename(standalone.backend / f"{VOLUME}@mine")

    ended = manage(standalone, "reconcile", option)

    assert name in standalone.files()
    assert ("warning: --mend is deprecated" in ended.stderr) == warned
    assert "--mend" not in manage(standalone, "reconcile", "--help").stdout


def test_vanished_snapshot_is_reported_and_unmanaged_only_with_fix(standalone: Standalone) -> None:
    client = standalone.start()
    snapshot_id = manage_snapshot(client)
    (standalone.backend / f"{VOLUME}@snapshot-{snapshot_id}").unlink()

    ended = manage(standalone, "reconcile")
    assert (ended.returncode, ended.stdout.split(":")[0]) == (2, "VANISHED")
    assert client.snapshot(snapshot_id)["status"] == "available"

    assert "Requested to unmanage it." in manage(standalone, "reconcile", "--fix").stdout
    until(lambda: client.get(f"/snapshots/{snapshot_id}").status_code == 404, "the record to be deleted")
    assert manage(standalone, "reconcile").returncode == 0


def test_snapshot_that_vanished_from_another_storage_stays_managed(standalone: Standalone) -> None:
    client = standalone.start()
    snapshot_id = manage_snapshot(client)
    standalone.backend.rename(standalone.backend.with_name("unmounted"))
    standalone.backend.mkdir()

    ended = manage(standalone, "reconcile", "--fix").stdout

    assert "another storage" in ended
    assert "a person must decide" in ended
    assert client.snapshot(snapshot_id)["status"] == "available"


def test_size_that_the_backend_learned_later_is_recorded_only_with_fix(standalone: Standalone) -> None:
    client = standalone.start()
    with (standalone.backend / f"{VOLUME}@daily").open("r+b") as image:
        image.truncate(0)
    snapshot_id = manage_snapshot(client)
    with (standalone.backend / f"{VOLUME}@snapshot-{snapshot_id}").open("r+b") as image:
        image.truncate(2**30 + 1)

    ended = manage(standalone, "reconcile")
    assert (ended.returncode, ended.stdout.split(":")[0]) == (2, "UNSIZED")
    assert client.snapshot(snapshot_id)["size"] == 0

    assert "Recorded its size, 2 GiB." in manage(standalone, "reconcile", "--fix").stdout
    assert client.snapshot(snapshot_id)["size"] == 2
    assert manage(standalone, "reconcile").returncode == 0


def test_snapshot_that_another_object_replaced_stays_managed(standalone: Standalone) -> None:
    client = standalone.start()
    snapshot_id = manage_snapshot(client)
    file = standalone.backend / f"{VOLUME}@snapshot-{snapshot_id}"
    file.rename(standalone.folder / "elsewhere")
    file.write_text("another")

    ended = manage(standalone, "reconcile", "--fix")

    assert ended.returncode == 2
    assert ended.stdout.startswith(f"REPLACED: snapshot {snapshot_id} on localhost@files")
    assert "a person must decide" in ended.stdout
    assert client.snapshot(snapshot_id)["status"] == "available"
    assert file.read_text() == "another"


def test_snapshot_that_was_renamed_to_a_volume_s_name_is_reported_and_stays_managed(standalone: Standalone) -> None:
    client = standalone.start()
    snapshot_id = manage_snapshot(client)
    (standalone.backend / f"{VOLUME}@snapshot-{snapshot_id}").rename(standalone.backend / "backup.img")

    ended = manage(standalone, "reconcile", "--fix")

    assert ended.returncode == 2
    assert ended.stdout.startswith(f"RENAMED: snapshot {snapshot_id} on localhost@files")
    assert "'backup.img'" in ended.stdout
    assert "a person must decide" in ended.stdout
    assert client.snapshot(snapshot_id)["status"] == "available"
    assert "backup.img" in standalone.files()


def test_snapshot_whose_volume_was_removed_agrees_with_its_record(standalone: Standalone) -> None:
    client = standalone.start()
    snapshot_id = manage_snapshot(client)
    (standalone.backend / VOLUME).unlink()

    ended = manage(standalone, "reconcile", "--fix")

    assert (ended.returncode, ended.stdout) == (0, "")
    assert client.snapshot(snapshot_id)["status"] == "available"


def test_unmanaged_object_with_a_managed_name_is_left_to_a_person(standalone: Standalone) -> None:
    client = standalone.start()
    snapshot_id = manage_snapshot(client)
    client.unmanage(snapshot_id)
    until(lambda: client.get(f"snapshots/{snapshot_id}").status_code == 404, "the snapshot to be unmanaged")
    (standalone.backend / f"{VOLUME}@daily").rename(standalone.backend / f"{VOLUME}@snapshot-{snapshot_id}")
    before = standalone.files()

    ended = manage(standalone, "reconcile", "--fix")

    assert ended.returncode == 2
    assert ended.stdout.startswith(f"UNOWNED: snapshot {snapshot_id} on localhost@files")
    assert "a person must decide" in ended.stdout
    assert standalone.files() == before


def test_object_that_two_records_manage_is_left_to_a_person(standalone: Standalone) -> None:
    client = standalone.start()
    volume = register_volume(client)
    first, second = (request_manage(client, volume, f"{VOLUME}@{name}") for name in SNAPSHOTS[:2])
    assert {await_settled(client, each)["status"] for each in (first, second)} == {"available"}
    let_both_own_one_object(standalone, first, second)

    ended = manage(standalone, "reconcile", "--fix")

    assert ended.returncode == 2
    [line, fix] = ended.stdout.splitlines()
    assert line.startswith(f"TWICE: snapshot {second} on localhost@files")
    assert first in line
    assert "a person must decide" in fix


def let_both_own_one_object(standalone: Standalone, first: str, second: str) -> None:
    """Write the first record's object into the second record, which no request can do."""
    columns = "(backend_id, backend_name)"
    with closing(sqlite3.connect(standalone.folder / "snapmanage.db")) as db, db:
        db.execute(
            f"UPDATE snapshots SET {columns} = (SELECT backend_id, backend_name FROM snapshots WHERE id = ?) "
            "WHERE id = ?",
            (first, second),
        )


def test_snapshot_that_could_not_be_unmanaged_is_reported_if_renamed_and_unmanaged_if_vanished(
    standalone: Standalone,
) -> None:
    client = standalone.start()
    snapshot_id = manage_snapshot(client)
    (standalone.backend / f"{VOLUME}@daily").write_text("another of that name")
    client.unmanage(snapshot_id)
    assert await_settled(client, snapshot_id)["status"] == "error"
    assert manage(standalone, "reconcile").stdout == ""
    mine = standalone.backend / f"{VOLUME}@mine"
    (standalone.backend / f"{VOLUME}@snapshot-{snapshot_id}").rename(mine)

    ended = manage(standalone, "reconcile", "--fix").stdout

    assert ended.startswith(f"RENAMED: snapshot {snapshot_id}")
    assert "a person must decide" in ended
    mine.unlink()
    assert manage(standalone, "reconcile", "--fix").stdout.startswith(f"VANISHED: snapshot {snapshot_id}")
    until(lambda: client.get(f"snapshots/{snapshot_id}").status_code == 404, "the record to be deleted")


def test_backend_that_fails_does_not_keep_the_others_from_being_compared(standalone: Standalone) -> None:
    client = standalone.start()
    snapshot_id = manage_snapshot(client)
    file = standalone.folder / "snapmanage.conf"
    broken = "[broken]\ndriver = file\ndirectory = /nowhere\n"
    file.write_text(file.read_text().replace("enabled_backends = ", "enabled_backends = broken,") + broken)

    without = manage(standalone, "reconcile")
    (standalone.backend / f"{VOLUME}@snapshot-{snapshot_id}").unlink()
    ended = manage(standalone, "reconcile")

    assert (without.returncode, without.stdout) == (1, "")
    assert without.stderr.startswith("error: localhost@broken can't be compared: ")
    assert (ended.returncode, ended.stdout.split(":")[0]) == (2, "VANISHED")
